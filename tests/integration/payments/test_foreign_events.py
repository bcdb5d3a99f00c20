"""Events of other systems on the same Stripe account are accepted and have no effect."""

import pytest

from models.errors import SignatureInvalid, WebhookMalformed
from tests.integration.payments.harness import PaymentsHarness, as_gateway_message, make_offer
from tests.integration.payments.test_webhooks import signed, signed_body
from tests.support.polling import eventually
from workers.payments.provider import PaymentRequest

THIN = {"object": "v2.core.event", "data": None, "related_object": {"id": "meter_1", "type": "billing.meter"}}


@pytest.mark.parametrize(
    "event",
    [
        {"type": "balance.available", "data": {"object": {"object": "balance"}}},
        {"type": "invoice.upcoming", "data": {"object": {"object": "invoice", "amount_due": 5}}},
        {"type": "tax.settings.updated", "data": {"object": {"object": "tax.settings"}}},
        {"type": "cash_balance.funds_available", "data": {"object": {"object": "cash_balance"}}},
        {"type": "charge.succeeded", "data": {"object": {"id": "ch_1", "payment_intent": {"id": "pi_1"}}}},
        {"type": "v1.billing.meter.error_report_triggered", **THIN},
        {"type": "customer.created", "livemode": True, "data": {"object": {"id": "cus_1"}}},
        {"type": "charge.refunded", "data": {"object": {"id": "ch_1", "payment_intent": None}}},
        {"type": "refund.created", "data": {"object": {"id": "re_1"}}},
        {"type": "charge.dispute.created", "data": {"object": {"id": "du_1", "payment_intent": None}}},
        {"type": "payment_intent.succeeded", "data": {"object": {"object": "payment_intent"}}},
    ],
    ids=lambda event: event["type"],
)
def test_foreign_event_is_acknowledged_and_not_stored(harness, event):
    assert harness.receive(signed(**event)) == {"received": True}
    assert (harness.provider_events(), harness.enqueued) == ([], [])


@pytest.mark.parametrize(
    "body",
    [b"", b"nonsense", b"\xff", b"[]", b"null", b"{}", b'{"id": 7, "type": "a"}', b'{"id": "evt_1"}'],
)
def test_malformed_signed_body_is_rejected(harness, body):
    with pytest.raises(WebhookMalformed):
        harness.receive(signed_body(body))


@pytest.mark.parametrize("data", [None, [], {}, {"object": None}, {"object": {"id": 7}}, {"object": {"id": ["pi_1"]}}])
def test_handled_event_with_unexpected_shape_is_rejected(harness, data):
    with pytest.raises(WebhookMalformed):
        harness.receive(signed(type="payment_intent.succeeded", data=data))


@pytest.mark.parametrize("timestamp", ["1" * 13, "9" * 400, "9" * 5000])
def test_oversized_timestamp_is_invalid_signature(harness, timestamp):
    body = signed()["body"]
    with pytest.raises(SignatureInvalid):
        harness.receive(signed_body(body, timestamp=timestamp))


def test_expanded_payment_intent_names_the_payment(harness):
    harness.receive(signed(type="charge.refunded", data={"object": {"id": "ch_1", "payment_intent": {"id": "pi_1"}}}))
    assert [event.object_id for event in harness.provider_events()] == ["pi_1"]


def test_unknown_payment_has_no_refunds_or_disputes(harness):
    stripe = harness.providers["stripe"]
    assert (stripe.list_refunds("pi_unknown"), stripe.list_disputes("pi_unknown")) == ([], [])


@pytest.mark.parametrize("kind", ["refund.created", "charge.refunded", "charge.dispute.created"])
def test_event_of_foreign_payment_is_ignored(harness, kind):
    client = harness.providers["stripe"]._client  # noqa: SLF001 another system
    payment = client.v1.payment_intents.create(
        {"amount": 4900, "currency": "usd", "payment_method": "pm_card_visa", "confirm": True}
    )
    assert outcomes(harness, signed(type=kind, data={"object": {"id": "x_1", "payment_intent": payment.id}})) == [
        "ignored"
    ]


def test_foreign_setup_session_is_ignored(harness):
    client = harness.providers["stripe"]._client  # noqa: SLF001 another system
    page = client.v1.checkout.sessions.create({"mode": "setup", "success_url": "https://other.test/"})
    harness.fake_stripe.pay(page.id, "succeed")
    assert outcomes(harness, harness.webhook(page.id, "checkout.session.completed")) == ["ignored"]


def test_session_is_found_among_foreign_sessions(harness, session):
    client = harness.providers["stripe"]._client  # noqa: SLF001 another system
    checkout = harness.checkout(make_offer(session))
    client.v1.checkout.sessions.create({"mode": "setup", "success_url": "https://other.test/"})
    found = harness.providers["stripe"].find(
        PaymentRequest.from_attempt(harness.attempt(checkout), harness.order(checkout))
    )
    assert found.checkout_session_id == harness.attempt(checkout).checkout_session_id


def test_fake_sends_foreign_events(harness):
    event = harness.fake_stripe.post("/__events/balance.available", object={"object": "balance"})
    sent = eventually(lambda: [each for each in harness.receiver.webhooks if each.event.get("id") == event["id"]])
    assert harness.receive(as_gateway_message(sent[0])) == {"received": True}


def outcomes(harness: PaymentsHarness, message: dict) -> list[str]:
    """Return the statuses of the events of a webhook after their processing."""
    harness.enqueued.clear()
    assert harness.receive(message) == {"received": True}
    harness.run_enqueued()
    return [event.status for event in harness.provider_events()]
