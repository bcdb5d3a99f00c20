"""YooKassa's notices: a hint from a known address, believed only when looking bears it out."""

import json
from datetime import timedelta

import pytest

from models.base import now
from models.errors import HookUnreadable, SenderRefused
from tests.payments.shop import Shop, make_offer, make_yookassa
from workers.payments.webhooks import apply_provider_event, sweep_provider_events

UNKNOWN = "2d000000-000f-5000-9000-000000000000"
YOOKASSA, STRANGER = "127.0.0.2", "127.0.0.1"
BOUGHT = ["ORDER_CREATED", "PAYMENT_SUCCEEDED", "COURSE_PURCHASED"]


@pytest.fixture
def shop(kassa_shop) -> Shop:
    return kassa_shop


@pytest.fixture
def checkout(shop, session):
    return shop.checkout(make_offer(session, price_minor=199000, currency="RUB"), provider="yookassa")


def notice(object_id: str, /, event: str = "payment.succeeded", *, address: str = YOOKASSA, **said) -> dict:
    """A notice as the gateway passes it on."""
    told = {"id": object_id, "status": event.partition(".")[2], "paid": True, **said}
    body = json.dumps({"type": "notification", "event": event, "object": told}).encode()
    return {"body": body, "headers": {}, "address": address}


def hear(shop: Shop, message: dict) -> None:
    shop.poked.clear()
    assert shop.receive(message, provider="yookassa") == {"received": True}
    shop.do_as_poked()


def test_a_paid_page_pays_its_order_by_what_yookassa_sends(shop, checkout):
    page_id = shop.attempt(checkout).page_id
    shop.pay(checkout)
    shop.hear(page_id, "payment.waiting_for_capture", provider="yookassa")
    assert shop.order(checkout).status == "paid"
    shop.hear(page_id, "payment.succeeded", provider="yookassa")
    assert shop.told(checkout) == BOUGHT
    assert [event.status for event in shop.provider_events()] == ["applied"] * 2


def test_a_notice_is_thanked_before_anything_is_asked_and_kept_once(shop, checkout):
    shop.pay(checkout)
    for _ in range(3):
        shop.receive(notice(shop.attempt(checkout).page_id), provider="yookassa")
    assert len(shop.provider_events()) == len(shop.poked) == 1
    assert shop.order(checkout).status == "pending"


@pytest.mark.parametrize(
    "address",
    [
        STRANGER,
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
def test_a_strangers_notice_is_refused_and_not_kept(shop, checkout, address):
    with pytest.raises(SenderRefused):
        shop.receive(notice(shop.attempt(checkout).page_id, address=address), provider="yookassa")
    assert shop.provider_events() == []


def test_the_official_networks_are_trusted_where_they_are_configured(shop):
    live = make_yookassa("http://127.0.0.1:1", trusted_networks=("185.71.76.0/27", "2a02:5180::/32", "77.75.156.11"))
    for address in ("185.71.76.31", "::ffff:185.71.76.31", "2a02:5180:0:1509::1", "77.75.156.11"):
        shop.providers["yookassa"] = live
        assert shop.receive(notice(UNKNOWN, address=address), provider="yookassa") == {"received": True}
    for address in ("185.71.76.32", "127.0.0.2", "77.75.156.12"):
        with pytest.raises(SenderRefused):
            shop.receive(notice(UNKNOWN, address=address), provider="yookassa")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"event": "payment.succeeded"}', b"\xff"])
def test_what_cannot_be_read_is_refused(shop, body):
    with pytest.raises(HookUnreadable):
        shop.receive(notice(UNKNOWN) | {"body": body}, provider="yookassa")


@pytest.mark.parametrize("object_id", ["", "../me", "..%2fme", "2d", f"{UNKNOWN}/capture", f"{UNKNOWN}\x00"])
@pytest.mark.parametrize("field", ["id", "payment_id"])
def test_id_that_yookassa_cannot_have_sent_is_refused(shop, object_id, field):
    with pytest.raises(HookUnreadable):
        shop.receive(notice(UNKNOWN, **{field: object_id}), provider="yookassa")
    assert shop.provider_events() == []


def test_adapter_puts_only_ids_into_a_path(shop):
    assert shop.providers["yookassa"].fetch("../me") is None


def test_a_forged_success_pays_for_nothing(shop, checkout):
    hear(shop, notice(shop.attempt(checkout).page_id, amount={"value": "1990.00", "currency": "RUB"}))
    assert (shop.order(checkout).status, shop.attempt(checkout).status) == ("pending", "requires_action")


def test_a_forged_cancellation_cancels_nothing(shop, checkout):
    hear(shop, notice(shop.attempt(checkout).page_id, "payment.canceled"))
    assert (shop.attempt(checkout).status, shop.attempt(checkout).page_open) == ("requires_action", True)


@pytest.mark.parametrize("event", ["payment.waiting_for_capture", "payment.succeeded"])
def test_a_forged_early_notice_does_not_make_the_true_one_a_duplicate(shop, checkout, event):
    page_id = shop.attempt(checkout).page_id
    hear(shop, notice(page_id, event))
    [event] = shop.provider_events()
    assert (event.status, event.due_at > now()) == ("received", True)
    shop.pay(checkout)
    hear(shop, notice(page_id, event.type))
    assert (shop.order(checkout).status, event.status) == ("paid", "applied")


def test_a_true_notice_that_meets_a_forged_one_being_looked_at_is_not_lost(shop, session, checkout):
    page_id = shop.attempt(checkout).page_id
    shop.receive(notice(page_id), provider="yookassa")
    [forged] = shop.poked
    shop.poked.clear()
    shop.receive(notice(page_id), provider="yookassa")
    assert shop.poked == []
    apply_provider_event(shop.sessions, shop.providers, **forged[1])
    shop.pay(checkout)
    [event] = shop.provider_events()
    event.due_at -= timedelta(hours=1)
    sweep_provider_events(session, shop.poke)
    shop.do_as_poked()
    assert (shop.order(checkout).status, event.status) == ("paid", "applied")


def test_a_forged_notice_of_a_payment_that_ended_otherwise_is_done_with(shop, checkout):
    shop.pay(checkout, "decline")
    hear(shop, notice(shop.attempt(checkout).page_id))
    assert [event.status for event in shop.provider_events()] == ["applied"]
    assert shop.attempt(checkout).status == "failed"


def test_a_notice_of_an_unknown_payment_is_thanked_and_ignored(shop):
    hear(shop, notice(UNKNOWN))
    assert [event.status for event in shop.provider_events()] == ["ignored"]


def test_a_notice_that_we_do_not_follow_is_thanked_and_not_kept(shop):
    hear(shop, notice(UNKNOWN, "payout.succeeded"))
    assert shop.provider_events() == []
