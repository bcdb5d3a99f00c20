"""Other systems on the same Stripe account cause events of every kind: each is accepted, and none has an effect."""

import pytest

from models.errors import HookUnreadable, SignatureInvalid
from tests.payments.shop import Shop, make_offer, passed_on
from tests.payments.test_webhooks import signed, signed_body
from tests.standins.conftest import eventually
from workers.payments.provider import PageRequest

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
def test_event_that_cannot_be_ours_is_accepted_and_not_stored(shop, event):
    assert shop.receive(signed(**event)) == {"received": True}
    assert (shop.provider_events(), shop.poked) == ([], [])


@pytest.mark.parametrize(
    "body",
    [b"", b"nonsense", b"\xff", b"[]", b"null", b"{}", b'{"id": 7, "type": "a"}', b'{"id": "evt_1"}'],
)
def test_signed_body_that_is_no_event_is_unreadable(shop, body):
    with pytest.raises(HookUnreadable):
        shop.receive(signed_body(body))


@pytest.mark.parametrize("data", [None, [], {}, {"object": None}, {"object": {"id": 7}}, {"object": {"id": ["pi_1"]}}])
def test_followed_event_of_another_shape_is_unreadable(shop, data):
    with pytest.raises(HookUnreadable):
        shop.receive(signed(type="payment_intent.succeeded", data=data))


@pytest.mark.parametrize("timestamp", ["1" * 13, "9" * 400, "9" * 5000])
def test_timestamp_of_many_digits_is_a_bad_signature(shop, timestamp):
    body = signed()["body"]
    with pytest.raises(SignatureInvalid):
        shop.receive(signed_body(body, timestamp=timestamp))


def test_expanded_payment_intent_names_the_payment(shop):
    shop.receive(signed(type="charge.refunded", data={"object": {"id": "ch_1", "payment_intent": {"id": "pi_1"}}}))
    assert [event.object_id for event in shop.provider_events()] == ["pi_1"]


def test_refunds_and_disputes_of_an_unknown_payment_are_none(shop):
    stripe = shop.providers["stripe"]
    assert (stripe.refunds_of("pi_unknown"), stripe.disputes_of("pi_unknown")) == ([], [])


@pytest.mark.parametrize("kind", ["refund.created", "charge.refunded", "charge.dispute.created"])
def test_event_of_a_payment_that_is_not_ours_is_ignored(shop, kind):
    client = shop.providers["stripe"]._client  # noqa: SLF001 another system
    made = client.v1.payment_intents.create(
        {"amount": 4900, "currency": "usd", "payment_method": "pm_card_visa", "confirm": True}
    )
    assert outcomes(shop, signed(type=kind, data={"object": {"id": "x_1", "payment_intent": made.id}})) == ["ignored"]


def test_saved_card_of_another_system_is_ignored(shop):
    client = shop.providers["stripe"]._client  # noqa: SLF001 another system
    page = client.v1.checkout.sessions.create({"mode": "setup", "success_url": "https://other.test/"})
    shop.standin.pay(page.id, "succeed")
    assert outcomes(shop, shop.webhook(page.id, "checkout.session.completed")) == ["ignored"]


def test_pages_of_other_systems_do_not_hide_ours(shop, session):
    client = shop.providers["stripe"]._client  # noqa: SLF001 another system
    checkout = shop.checkout(make_offer(session))
    client.v1.checkout.sessions.create({"mode": "setup", "success_url": "https://other.test/"})
    found = shop.providers["stripe"].find(PageRequest.of(shop.attempt(checkout), shop.order(checkout)))
    assert found.page_id == shop.attempt(checkout).page_id


def test_fake_sends_events_of_other_systems(shop):
    made = shop.standin.post("/__events/balance.available", object={"object": "balance"})
    sent = eventually(lambda: [each for each in shop.receiver.webhooks if each.event.get("id") == made["id"]])
    assert shop.receive(passed_on(sent[0])) == {"received": True}


def outcomes(shop: Shop, message: dict) -> list[str]:
    """Return what becomes of the events of a webhook."""
    shop.poked.clear()
    assert shop.receive(message) == {"received": True}
    shop.do_as_poked()
    return [event.status for event in shop.provider_events()]
