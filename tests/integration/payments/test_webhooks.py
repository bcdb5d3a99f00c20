import hashlib
import hmac
import json
import time
from datetime import timedelta

import pytest
from sqlalchemy import select

from core.bus.outbox import OutboxEvent
from core.db import new_id, utc_now
from core.log import bind_context
from models.commands.payments import IncomingWebhook
from models.errors import ProviderOutcomeUnknown, SignatureInvalid
from models.payments import ProviderEvent
from models.payments.provider_events import MAX_CRASHES
from tests.integration.payments.harness import PaymentsHarness, as_gateway_message, make_offer, make_stripe
from workers.payments.webhooks import apply_provider_event, retry_pending_provider_events

SECRET = "whsec_local"
EVENT = {
    "id": "evt_1",
    "type": "checkout.session.completed",
    "livemode": False,
    "data": {"object": {"id": "cs_test_1"}},
}


@pytest.fixture
def checkout(harness, session):
    return harness.checkout(make_offer(session))


def signed(*, secret: str = SECRET, age_seconds: float = 0, header: str | None = None, **event) -> dict:
    """Return a signed webhook as the gateway passes it on."""
    body = json.dumps(EVENT | {"id": f"evt_{new_id().hex}"} | event).encode()
    return signed_body(body, secret=secret, timestamp=str(int(time.time() - age_seconds)), header=header)


def signed_body(body: bytes, *, secret: str = SECRET, timestamp: str | None = None, header: str | None = None) -> dict:
    timestamp = timestamp or str(int(time.time()))
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"body": body, "headers": {"stripe-signature": header or f"t={timestamp},v1={digest}"}}


def test_swept_event_continues_the_trace_of_its_webhook(harness, checkout, session):
    harness.pay(checkout)
    webhook = {"request_id": "f" * 32, "traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "causation_id": "receive-1"}
    with bind_context(**webhook):
        harness.receive(harness.webhook(harness.attempt(checkout).checkout_session_id, "checkout.session.completed"))
    [event] = harness.provider_events()

    with bind_context(request_id="e" * 32, causation_id="sweep-1"):
        apply_provider_event(harness.transactions, harness.providers, provider_event_id=event.id)

    of_order = OutboxEvent.aggregateid == str(checkout["order_id"])
    published = select(OutboxEvent.headers).where(OutboxEvent.type == "PAYMENT_SUCCEEDED", of_order)
    assert session.scalars(published).all() == [webhook]


def test_webhooks_in_any_order_capture_once(harness, checkout):
    harness.pay(checkout)
    checkout_session_id = harness.attempt(checkout).checkout_session_id
    harness.webhook(checkout_session_id, "checkout.session.completed")
    sent = [webhook for webhook in harness.receiver.webhooks if str(checkout["order_id"]).encode() in webhook.body]
    assert len(sent) > 1
    for webhook in reversed(sent):
        harness.receive(as_gateway_message(webhook))
    for _task, message in harness.enqueued:
        apply_provider_event(harness.transactions, harness.providers, **message)
    assert harness.event_types(checkout) == ["ORDER_CREATED", "PAYMENT_SUCCEEDED", "COURSE_PURCHASED"]


def test_declined_session_can_still_be_paid(harness, checkout):
    harness.pay(checkout, "decline")
    payment_id = intent_of(harness, checkout)
    harness.receive_and_apply(payment_id, "payment_intent.payment_failed")
    assert harness.attempt(checkout).status == "failed"
    harness.pay(checkout)
    harness.complete_session(checkout)
    assert harness.event_types(checkout) == ["ORDER_CREATED", "PAYMENT_FAILED", "PAYMENT_SUCCEEDED", "COURSE_PURCHASED"]


def test_delayed_payment_pays_order(harness, checkout):
    checkout_session_id = harness.attempt(checkout).checkout_session_id
    harness.pay(checkout, "processing")
    harness.complete_session(checkout)
    assert (harness.attempt(checkout).status, harness.order(checkout).status) == ("processing", "pending")
    harness.pay(checkout, "succeed")
    harness.receive_and_apply(checkout_session_id, "checkout.session.async_payment_succeeded")
    assert harness.order(checkout).status == "paid"


def test_expired_session_expires_order(harness, checkout):
    checkout_session_id = harness.attempt(checkout).checkout_session_id
    harness.providers["stripe"].expire_checkout_session(checkout_session_id)
    harness.receive_and_apply(checkout_session_id, "checkout.session.expired")
    assert harness.order(checkout).status == "expired"


@pytest.mark.parametrize("wrong", [{"unit_amount": 100}, {"currency": "eur"}], ids=["amount", "currency"])
def test_mismatched_session_goes_to_review(harness, checkout, wrong):
    metadata = {"order_id": str(checkout["order_id"]), "attempt_id": str(checkout["id"])}
    price = {"currency": "usd", "unit_amount": 4900, "product_data": {"name": "Sourdough"}} | wrong
    page = create_foreign_session(harness, price, metadata)
    harness.fake_stripe.pay(page["id"], "succeed")
    harness.receive_and_apply(page["id"], "checkout.session.completed")
    assert (harness.attempt(checkout).status, harness.order(checkout).status) == ("review", "pending")
    assert harness.event_types(checkout) == ["ORDER_CREATED"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"secret": "whsec_wrong"},
        {"age_seconds": 305},
        {"age_seconds": -65},
        {"header": "t=1,v1=00"},
        {"header": "nonsense"},
        {"header": "v1=00"},
        {"header": "t=²,v1=é"},
        {"header": f"t={'1' * 400},v1=00"},
        {"livemode": True},
    ],
    ids=["secret", "old", "future", "digest", "nonsense", "no time", "not ascii", "400 digits", "mode"],
)
def test_invalid_signature_is_rejected(harness, wrong):
    assert_rejected(harness, signed(**wrong))


def test_missing_signature_or_changed_body_is_rejected(harness):
    assert_rejected(harness, signed() | {"headers": {}})
    assert_rejected(harness, signed() | {"body": b"{}"})


def assert_rejected(harness: PaymentsHarness, webhook: dict) -> None:
    with pytest.raises(SignatureInvalid):
        harness.receive(webhook)
    assert (harness.provider_events(), harness.enqueued) == ([], [])


def test_both_secrets_are_valid_during_rotation(harness):
    stripe = make_stripe(harness.fake_stripe.url, webhook_secrets=("whsec_new", "whsec_old"))
    for secret in ("whsec_new", "whsec_old"):
        webhook = signed(secret=secret)
        assert stripe.parse_webhook(IncomingWebhook(address="127.0.0.1", **webhook), at=utc_now())


def test_sweep_resends_lost_hint(harness: PaymentsHarness, session):
    harness.receive(signed())
    [event] = harness.provider_events()
    [hint] = harness.enqueued
    retry_pending_provider_events(session, harness.enqueue_after_commit)
    assert harness.enqueued.count(hint) == 1  # the hint may still be in the queue
    event.due_at = utc_now()
    for _ in range(2):
        retry_pending_provider_events(session, harness.enqueue_after_commit)
    assert harness.enqueued.count(hint) == 2
    assert event.due_at > utc_now()


def test_event_is_retried_after_provider_outage(harness, checkout):
    harness.pay(checkout)
    message = harness.webhook(harness.attempt(checkout).checkout_session_id, "checkout.session.completed")
    harness.receive(message)
    [event] = harness.provider_events()
    harness.fake_stripe.faults(error_500=3)
    with pytest.raises(ProviderOutcomeUnknown):
        apply_provider_event(harness.transactions, harness.providers, provider_event_id=event.id)
    assert event.status == "received"
    apply_provider_event(harness.transactions, harness.providers, provider_event_id=event.id)
    assert harness.order(checkout).status == "paid"


def test_event_retries_back_off_to_one_hour():
    event, at = ProviderEvent(sweeps=0), utc_now()
    delays = []
    for _ in range(12):
        event.postpone(at=at)
        delays.append(event.due_at - at)
    assert delays[:3] == [timedelta(seconds=30), timedelta(seconds=60), timedelta(seconds=120)]
    assert delays[-1] == timedelta(hours=1)


def test_crashing_event_fails_and_is_restarted_by_resend(harness, session, checkout, monkeypatch):
    harness.pay(checkout)
    message = harness.webhook(harness.attempt(checkout).checkout_session_id, "checkout.session.completed")
    harness.receive(message)
    [event] = harness.provider_events()
    with monkeypatch.context() as patched:
        patched.setattr("workers.payments.webhooks.apply_payment_snapshot", lambda *_: None.bug)
        for _ in range(MAX_CRASHES):
            assert event.status == "received"
            with pytest.raises(AttributeError):
                apply_provider_event(harness.transactions, harness.providers, provider_event_id=event.id)
    assert event.status == "failed"
    assert "AttributeError" in (event.problem or "")
    event.due_at = utc_now()
    assert event not in ProviderEvent.due(session, at=utc_now(), limit=100)

    harness.enqueued.clear()
    harness.receive(message)
    session.refresh(event)
    assert (event.status, event.crashes) == ("received", 0)
    harness.run_enqueued()
    assert (event.status, harness.order(checkout).status) == ("applied", "paid")


def intent_of(harness: PaymentsHarness, checkout) -> str:
    return harness.providers["stripe"].fetch(harness.attempt(checkout).checkout_session_id).payment_id


def create_foreign_session(harness: PaymentsHarness, price: dict, metadata: dict) -> dict:
    """Create a session that carries the product's metadata but was not opened by it, for example at another price."""
    params = {
        "mode": "payment",
        "line_items": [{"price_data": price, "quantity": 1}],
        "success_url": "https://shop.test/done",
        "metadata": metadata,
        "payment_intent_data": {"metadata": metadata},
    }
    return harness.providers["stripe"]._client.v1.checkout.sessions.create(params).to_dict()  # noqa: SLF001 the adapter never creates one
