"""YooKassa's webhooks are hints from a known address; only the fetched object is trusted."""

import json
from datetime import timedelta

import pytest

from core.db import utc_now
from models.errors import SenderNotAllowed, WebhookMalformed
from tests.integration.payments.harness import PaymentsHarness, make_offer, make_yookassa
from workers.payments.webhooks import apply_provider_event, retry_pending_provider_events

UNKNOWN = "2d000000-000f-5000-9000-000000000000"
YOOKASSA, UNTRUSTED = "127.0.0.2", "127.0.0.1"
PURCHASE_EVENTS = ["ORDER_CREATED", "PAYMENT_SUCCEEDED", "COURSE_PURCHASED"]


@pytest.fixture
def harness(harness_with_yookassa) -> PaymentsHarness:
    return harness_with_yookassa


@pytest.fixture
def checkout(harness, session):
    return harness.checkout(make_offer(session, price_minor=199000, currency="RUB"), provider="yookassa")


def yookassa_webhook(object_id: str, /, event: str = "payment.succeeded", *, address: str = YOOKASSA, **fields) -> dict:
    """Return a webhook as the gateway passes it on."""
    payload_object = {"id": object_id, "status": event.partition(".")[2], "paid": True, **fields}
    body = json.dumps({"type": "notification", "event": event, "object": payload_object}).encode()
    return {"body": body, "headers": {}, "address": address}


def deliver_webhook(harness: PaymentsHarness, message: dict) -> None:
    harness.enqueued.clear()
    assert harness.receive(message, provider="yookassa") == {"received": True}
    harness.run_enqueued()


def test_webhook_of_paid_session_pays_order(harness, checkout):
    checkout_session_id = harness.attempt(checkout).checkout_session_id
    harness.pay(checkout)
    harness.receive_and_apply(checkout_session_id, "payment.waiting_for_capture", provider="yookassa")
    assert harness.order(checkout).status == "paid"
    harness.receive_and_apply(checkout_session_id, "payment.succeeded", provider="yookassa")
    assert harness.event_types(checkout) == PURCHASE_EVENTS
    assert [event.status for event in harness.provider_events()] == ["applied"] * 2


@pytest.mark.parametrize(
    "address",
    [
        UNTRUSTED,
        "::1",
        "127.0.0.3",
        "::ffff:127.0.0.3",
        "",
        "unknown",
        "1.2.3.4:5678",
        "[::1]",
        "127.0.0.2\x00",
        "٣.٣.٣.٣",
    ],
)
def test_webhook_from_untrusted_address_is_rejected(harness, checkout, address):
    with pytest.raises(SenderNotAllowed):
        harness.receive(
            yookassa_webhook(harness.attempt(checkout).checkout_session_id, address=address), provider="yookassa"
        )
    assert harness.provider_events() == []


def test_configured_networks_are_trusted(harness):
    live = make_yookassa("http://127.0.0.1:1", trusted_networks=("185.71.76.0/27", "2a02:5180::/32", "77.75.156.11"))
    for address in ("185.71.76.31", "::ffff:185.71.76.31", "2a02:5180:0:1509::1", "77.75.156.11"):
        harness.providers["yookassa"] = live
        assert harness.receive(yookassa_webhook(UNKNOWN, address=address), provider="yookassa") == {"received": True}
    for address in ("185.71.76.32", "127.0.0.2", "77.75.156.12"):
        with pytest.raises(SenderNotAllowed):
            harness.receive(yookassa_webhook(UNKNOWN, address=address), provider="yookassa")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"event": "payment.succeeded"}', b"\xff"])
def test_malformed_webhook_is_rejected(harness, body):
    with pytest.raises(WebhookMalformed):
        harness.receive(yookassa_webhook(UNKNOWN) | {"body": body}, provider="yookassa")


@pytest.mark.parametrize("object_id", ["", "../me", "..%2fme", "2d", f"{UNKNOWN}/capture", f"{UNKNOWN}\x00"])
@pytest.mark.parametrize("field", ["id", "payment_id"])
def test_malformed_object_id_is_rejected(harness, object_id, field):
    with pytest.raises(WebhookMalformed):
        harness.receive(yookassa_webhook(UNKNOWN, **{field: object_id}), provider="yookassa")
    assert harness.provider_events() == []


def test_forged_cancellation_is_ignored(harness, checkout):
    deliver_webhook(harness, yookassa_webhook(harness.attempt(checkout).checkout_session_id, "payment.canceled"))
    assert (harness.attempt(checkout).status, harness.attempt(checkout).checkout_session_open) == (
        "requires_action",
        True,
    )


@pytest.mark.parametrize("event", ["payment.waiting_for_capture", "payment.succeeded"])
def test_forged_webhook_does_not_mask_genuine_webhook(harness, checkout, event):
    checkout_session_id = harness.attempt(checkout).checkout_session_id
    deliver_webhook(harness, yookassa_webhook(checkout_session_id, event))
    [event] = harness.provider_events()
    assert (event.status, event.due_at > utc_now()) == ("received", True)
    harness.pay(checkout)
    deliver_webhook(harness, yookassa_webhook(checkout_session_id, event.type))
    assert (harness.order(checkout).status, event.status) == ("paid", "applied")


def test_genuine_webhook_is_applied_beside_pending_forged_one(harness, session, checkout):
    checkout_session_id = harness.attempt(checkout).checkout_session_id
    harness.receive(yookassa_webhook(checkout_session_id), provider="yookassa")
    [forged] = harness.enqueued
    harness.enqueued.clear()
    harness.receive(yookassa_webhook(checkout_session_id), provider="yookassa")
    assert harness.enqueued == []
    apply_provider_event(harness.transactions, harness.providers, **forged[1])
    harness.pay(checkout)
    [event] = harness.provider_events()
    event.due_at -= timedelta(hours=1)
    retry_pending_provider_events(session, harness.enqueue_after_commit)
    harness.run_enqueued()
    assert (harness.order(checkout).status, event.status) == ("paid", "applied")


def test_forged_webhook_of_failed_payment_is_finished(harness, checkout):
    harness.pay(checkout, "decline")
    deliver_webhook(harness, yookassa_webhook(harness.attempt(checkout).checkout_session_id))
    assert [event.status for event in harness.provider_events()] == ["applied"]
    assert harness.attempt(checkout).status == "failed"
