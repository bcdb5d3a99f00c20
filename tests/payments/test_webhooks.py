import hashlib
import hmac
import json
import time
from datetime import timedelta

import pytest
from sqlalchemy import select

from models.base import new_id, now
from models.errors import ProviderOutcomeUnknown, SignatureInvalid
from models.log import bound
from models.outbox import OutboxEvent
from models.payments import ProviderEvent
from models.payments.provider_events import MAX_CRASHES
from tests.payments.shop import Shop, make_offer, make_stripe, passed_on
from workers.payments.provider import Webhook
from workers.payments.webhooks import apply_provider_event, sweep_provider_events

SECRET = "whsec_local"
EVENT = {
    "id": "evt_1",
    "type": "checkout.session.completed",
    "livemode": False,
    "data": {"object": {"id": "cs_test_1"}},
}


@pytest.fixture
def checkout(shop, session):
    return shop.checkout(make_offer(session))


def signed(*, secret: str = SECRET, age_seconds: float = 0, header: str | None = None, **event) -> dict:
    """A webhook as the gateway passes it on."""
    body = json.dumps(EVENT | {"id": f"evt_{new_id().hex}"} | event).encode()
    return signed_body(body, secret=secret, timestamp=str(int(time.time() - age_seconds)), header=header)


def signed_body(body: bytes, *, secret: str = SECRET, timestamp: str | None = None, header: str | None = None) -> dict:
    timestamp = timestamp or str(int(time.time()))
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"body": body, "headers": {"stripe-signature": header or f"t={timestamp},v1={digest}"}}


def test_a_paid_page_pays_its_order(shop, checkout):
    shop.pay(checkout)
    shop.hear_completed(checkout)
    assert shop.order(checkout).status == "paid"
    assert shop.told(checkout) == ["ORDER_CREATED", "PAYMENT_SUCCEEDED", "COURSE_PURCHASED"]
    [event] = shop.provider_events()
    assert (event.type, event.status) == ("checkout.session.completed", "applied")


def test_a_webhook_is_thanked_before_anything_is_asked(shop, checkout):
    shop.pay(checkout)
    assert shop.receive(shop.webhook(shop.attempt(checkout).page_id, "checkout.session.completed")) == {
        "received": True
    }
    [event] = shop.provider_events()
    assert event.status == "received"
    assert shop.poked == [("payments.apply_provider_event", {"provider_event_id": event.id})]
    assert shop.order(checkout).status == "pending"


def test_a_repeated_webhook_is_thanked_and_kept_once(shop, checkout):
    shop.pay(checkout)
    message = shop.webhook(shop.attempt(checkout).page_id, "checkout.session.completed")
    assert [shop.receive(message) for _ in range(3)] == [{"received": True}] * 3
    assert len(shop.provider_events()) == len(shop.poked) == 1


def test_swept_event_continues_the_trace_of_its_webhook(shop, checkout, session):
    shop.pay(checkout)
    webhook = {"request_id": "f" * 32, "traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "causation_id": "receive-1"}
    with bound(**webhook):
        shop.receive(shop.webhook(shop.attempt(checkout).page_id, "checkout.session.completed"))
    [event] = shop.provider_events()

    with bound(request_id="e" * 32, causation_id="sweep-1"):
        apply_provider_event(shop.sessions, shop.providers, provider_event_id=event.id)

    wanted = select(OutboxEvent.headers).where(OutboxEvent.type == "PAYMENT_SUCCEEDED")
    assert session.scalars(wanted).all() == [webhook]


def test_an_event_applied_twice_captures_once(shop, checkout):
    shop.pay(checkout)
    shop.hear_completed(checkout)
    [event] = shop.provider_events()
    event.status = "received"
    apply_provider_event(shop.sessions, shop.providers, provider_event_id=event.id)
    assert shop.told(checkout) == ["ORDER_CREATED", "PAYMENT_SUCCEEDED", "COURSE_PURCHASED"]


def test_every_webhook_of_one_payment_in_any_order_captures_once(shop, checkout):
    shop.pay(checkout)
    page_id = shop.attempt(checkout).page_id
    shop.webhook(page_id, "checkout.session.completed")
    sent = [webhook for webhook in shop.receiver.webhooks if str(checkout["order_id"]).encode() in webhook.body]
    assert len(sent) > 1
    for webhook in reversed(sent):
        shop.receive(passed_on(webhook))
    for _task, message in shop.poked:
        apply_provider_event(shop.sessions, shop.providers, **message)
    assert shop.told(checkout) == ["ORDER_CREATED", "PAYMENT_SUCCEEDED", "COURSE_PURCHASED"]


def test_a_decline_is_told_and_the_page_may_still_be_paid(shop, checkout):
    shop.pay(checkout, "decline")
    payment_id = intent_of(shop, checkout)
    shop.hear(payment_id, "payment_intent.payment_failed")
    assert shop.attempt(checkout).status == "failed"
    shop.pay(checkout)
    shop.hear_completed(checkout)
    assert shop.told(checkout) == ["ORDER_CREATED", "PAYMENT_FAILED", "PAYMENT_SUCCEEDED", "COURSE_PURCHASED"]


def test_a_bank_that_is_slow_pays_in_the_end(shop, checkout):
    page_id = shop.attempt(checkout).page_id
    shop.pay(checkout, "processing")
    shop.hear_completed(checkout)
    assert (shop.attempt(checkout).status, shop.order(checkout).status) == ("processing", "pending")
    shop.pay(checkout, "succeed")
    shop.hear(page_id, "checkout.session.async_payment_succeeded")
    assert shop.order(checkout).status == "paid"


def test_an_expired_page_expires_the_order(shop, checkout):
    page_id = shop.attempt(checkout).page_id
    shop.providers["stripe"].expire_page(page_id)
    shop.hear(page_id, "checkout.session.expired")
    assert shop.order(checkout).status == "expired"


@pytest.mark.parametrize("wrong", [{"unit_amount": 100}, {"currency": "eur"}], ids=["amount", "currency"])
def test_a_paid_page_of_another_amount_or_currency_is_held_for_review(shop, checkout, wrong):
    metadata = {"order_id": str(checkout["order_id"]), "attempt_id": str(checkout["id"])}
    price = {"currency": "usd", "unit_amount": 4900, "product_data": {"name": "Sourdough"}} | wrong
    page = stripes_own_page(shop, price, metadata)
    shop.standin.pay(page["id"], "succeed")
    shop.hear(page["id"], "checkout.session.completed")
    assert (shop.attempt(checkout).status, shop.order(checkout).status) == ("review", "pending")
    assert shop.told(checkout) == ["ORDER_CREATED"]


def test_a_signed_lie_is_believed_in_nothing(shop, checkout):
    page = {"id": shop.attempt(checkout).page_id, "status": "complete", "payment_status": "paid"}
    shop.receive(signed(data={"object": page}))
    [(_task, message)] = shop.poked
    apply_provider_event(shop.sessions, shop.providers, **message)
    assert (shop.attempt(checkout).status, shop.order(checkout).status) == ("requires_action", "pending")


@pytest.mark.parametrize("object_id", ["cs_test_of_another_shop", "pi_of_another_shop"])
def test_an_event_of_no_attempt_is_ignored(shop, object_id):
    shop.receive(signed(data={"object": {"id": object_id}}))
    [(_task, message)] = shop.poked
    apply_provider_event(shop.sessions, shop.providers, **message)
    assert [event.status for event in shop.provider_events()] == ["ignored"]


def test_an_event_that_we_do_not_follow_is_thanked_and_not_kept(shop):
    assert shop.receive(signed(type="customer.created")) == {"received": True}
    assert shop.provider_events() == []


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
def test_a_bad_signature_is_refused_and_nothing_is_kept(shop, wrong):
    refused(shop, signed(**wrong))


def test_a_missing_signature_and_a_changed_body_are_refused(shop):
    refused(shop, signed() | {"headers": {}})
    refused(shop, signed() | {"body": b"{}"})


def refused(shop: Shop, webhook: dict) -> None:
    with pytest.raises(SignatureInvalid):
        shop.receive(webhook)
    assert (shop.provider_events(), shop.poked) == ([], [])


def test_while_a_secret_is_replaced_both_are_good(shop):
    stripe = make_stripe(shop.standin.url, webhook_secrets=("whsec_new", "whsec_old"))
    for secret in ("whsec_new", "whsec_old"):
        webhook = signed(secret=secret)
        assert stripe.read_notice(Webhook(address="127.0.0.1", **webhook), at=now())


def test_an_event_whose_hint_was_lost_is_swept_up(shop: Shop, session):
    shop.receive(signed())
    [event] = shop.provider_events()
    [hint] = shop.poked
    sweep_provider_events(session, shop.poke)
    assert shop.poked.count(hint) == 1  # it may still be on its way
    event.due_at = now()
    for _ in range(2):
        sweep_provider_events(session, shop.poke)
    assert shop.poked.count(hint) == 2
    assert event.due_at > now()


def test_an_event_waits_for_a_provider_that_is_away(shop, checkout):
    shop.pay(checkout)
    message = shop.webhook(shop.attempt(checkout).page_id, "checkout.session.completed")
    shop.receive(message)
    [event] = shop.provider_events()
    shop.standin.faults(error_500=3)
    with pytest.raises(ProviderOutcomeUnknown):
        apply_provider_event(shop.sessions, shop.providers, provider_event_id=event.id)
    assert event.status == "received"
    apply_provider_event(shop.sessions, shop.providers, provider_event_id=event.id)
    assert shop.order(checkout).status == "paid"


def test_an_event_is_looked_at_less_and_less_and_never_given_up():
    event, at = ProviderEvent(sweeps=0), now()
    waits = []
    for _ in range(12):
        event.postpone(at=at)
        waits.append(event.due_at - at)
    assert waits[:3] == [timedelta(seconds=30), timedelta(seconds=60), timedelta(seconds=120)]
    assert waits[-1] == timedelta(hours=1)


def test_event_that_crashes_ends_as_failed_and_a_resend_starts_it_again(shop, session, checkout, monkeypatch):
    shop.pay(checkout)
    message = shop.webhook(shop.attempt(checkout).page_id, "checkout.session.completed")
    shop.receive(message)
    [event] = shop.provider_events()
    with monkeypatch.context() as patched:
        patched.setattr("workers.payments.webhooks.apply_snapshot", lambda *_: None.bug)
        for _ in range(MAX_CRASHES):
            assert event.status == "received"
            with pytest.raises(AttributeError):
                apply_provider_event(shop.sessions, shop.providers, provider_event_id=event.id)
    assert event.status == "failed"
    assert "AttributeError" in (event.problem or "")
    event.due_at = now()
    assert event not in ProviderEvent.due(session, at=now(), limit=100)

    shop.poked.clear()
    shop.receive(message)
    session.refresh(event)
    assert (event.status, event.crashes) == ("received", 0)
    shop.do_as_poked()
    assert (event.status, shop.order(checkout).status) == ("applied", "paid")


def intent_of(shop: Shop, checkout) -> str:
    return shop.providers["stripe"].fetch(shop.attempt(checkout).page_id).payment_id


def stripes_own_page(shop: Shop, price: dict, metadata: dict) -> dict:
    """A page with our metadata that we have not opened: at another price, say."""
    params = {
        "mode": "payment",
        "line_items": [{"price_data": price, "quantity": 1}],
        "success_url": "https://shop.test/done",
        "metadata": metadata,
        "payment_intent_data": {"metadata": metadata},
    }
    return shop.providers["stripe"]._client.v1.checkout.sessions.create(params).to_dict()  # noqa: SLF001 it never would
