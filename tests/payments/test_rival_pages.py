"""One order, two providers: only one page may bring money, and what was given up brings none."""

from datetime import timedelta

import pytest

from models.errors import (
    AlreadyPurchased,
    CheckoutOutcomeUnknown,
    NotFound,
    OrderClosed,
    PaymentInProgress,
    ProviderOutcomeUnknown,
)
from models.events import EnrollmentCreated
from models.payments import Order
from tests.payments.shop import Shop, make_offer, snapshot_of, steps
from tests.support.events import some
from workers.payments.orders import cancel_order, expire_orders, note_access, show_timeline
from workers.payments.sync import apply_snapshot, settle_hold, sync_attempt

BOUGHT = ["ORDER_CREATED", "PAYMENT_SUCCEEDED", "COURSE_PURCHASED"]


@pytest.fixture
def shop(kassa_shop) -> Shop:
    return kassa_shop


@pytest.fixture
def course_id(session):
    return make_offer(session, price_minor=199000, currency="RUB")


@pytest.fixture
def kassa_page(shop, course_id):
    return shop.checkout(course_id, provider="yookassa")


def cancel(shop: Shop, checkout: dict) -> dict:
    return cancel_order(shop.sessions, shop.providers, order_id=checkout["order_id"], user_id=shop.buyer)


def taken(shop: Shop, checkout: dict) -> list[str]:
    """What both providers have taken or hold for an order."""
    at_both = (*shop.standin.payments_of(str(checkout["order_id"])), *shop.kassa.payments_of(str(checkout["order_id"])))
    return [payment["status"] for payment in at_both]


# Another page for the same order.


def test_stripes_page_is_closed_before_yookassas_is_opened(shop, course_id):
    first = shop.checkout(course_id)
    second = shop.checkout(course_id, provider="yookassa")
    assert second["order_id"] == first["order_id"]
    assert (shop.attempt(first).status, shop.attempt(second).status) == ("expired", "requires_action")
    assert shop.standin.pay(shop.attempt(first).page_id, "succeed").status_code == 409


def test_what_is_paid_on_a_page_that_was_given_up_is_let_go(shop, course_id, kassa_page):
    second = shop.checkout(course_id)
    assert (shop.attempt(kassa_page).status, shop.attempt(kassa_page).page_open) == ("canceled", False)
    shop.pay(kassa_page)
    shop.hear(shop.attempt(kassa_page).page_id, "payment.waiting_for_capture", provider="yookassa")
    assert (taken(shop, second), shop.order(second).status) == ([], "pending")
    shop.pay(second)
    shop.come_back(second)
    assert (taken(shop, second), shop.told(second)) == (["succeeded"], BOUGHT)


def test_two_pages_that_are_paid_at_once_are_paid_once(shop, course_id, kassa_page):
    second = shop.checkout(course_id)
    shop.pay(second)
    shop.pay(kassa_page)
    shop.come_back(second)
    shop.hear(shop.attempt(kassa_page).page_id, "payment.waiting_for_capture", provider="yookassa")
    assert (taken(shop, second), shop.told(second)) == (["succeeded"], BOUGHT)


def test_a_hold_whose_notice_is_lost_is_let_go_by_the_job(shop, course_id, kassa_page):
    shop.checkout(course_id)
    assert shop.attempt(kassa_page).next_sync_at
    shop.pay(kassa_page)
    sync_attempt(shop.sessions, shop.providers, attempt_id=kassa_page["id"])
    assert taken(shop, kassa_page) == []
    assert shop.attempt(kassa_page).next_sync_at is None  # there is nothing left to hear


def test_a_page_that_was_paid_before_it_could_be_given_up_wins(shop, course_id, kassa_page):
    shop.pay(kassa_page)
    with pytest.raises(AlreadyPurchased):
        shop.checkout(course_id)
    assert (taken(shop, kassa_page), shop.told(kassa_page)) == (["succeeded"], BOUGHT)


def test_a_page_whose_money_is_being_taken_is_not_given_up_any_more(shop, course_id, kassa_page):
    shop.pay(kassa_page)
    shop.kassa.faults(error_500=1)
    with pytest.raises(ProviderOutcomeUnknown):
        shop.come_back(kassa_page)
    shop.apply(kassa_page, status="authorized", page_open=False, payment_id=shop.attempt(kassa_page).page_id)
    with pytest.raises(AlreadyPurchased):
        shop.checkout(course_id)
    assert (taken(shop, kassa_page), shop.attempt(kassa_page).superseded) == (["succeeded"], False)


def test_money_of_another_amount_is_neither_taken_nor_let_go(shop, kassa_page):
    attempt = shop.attempt(kassa_page)
    held = snapshot_of(attempt, status="authorized", page_open=False, amount_minor=1, payment_id=attempt.page_id)
    assert settle_hold(shop.sessions, shop.providers, attempt, held) is held
    assert attempt.status == "review"


# Giving an order up.


def test_a_canceled_order_has_no_page_any_more(shop, course_id):
    checkout = shop.checkout(course_id)
    assert cancel(shop, checkout)["status"] == "canceled"
    assert shop.standin.pay(shop.attempt(checkout).page_id, "succeed").status_code == 409
    assert shop.told(checkout) == ["ORDER_CREATED", "ORDER_CANCELED"]
    cancel(shop, checkout)
    assert shop.told(checkout) == ["ORDER_CREATED", "ORDER_CANCELED"]
    assert shop.checkout(course_id)["order_id"] != checkout["order_id"]


def test_what_is_paid_for_a_canceled_order_is_let_go(shop, kassa_page):
    cancel(shop, kassa_page)
    shop.pay(kassa_page)
    shop.hear(shop.attempt(kassa_page).page_id, "payment.waiting_for_capture", provider="yookassa")
    assert (taken(shop, kassa_page), shop.order(kassa_page).status) == ([], "canceled")


@pytest.mark.parametrize("provider", ["stripe", "yookassa"])
def test_an_order_that_was_paid_meanwhile_is_not_canceled(shop, course_id, provider):
    checkout = shop.checkout(course_id, provider=provider)
    shop.pay(checkout)
    with pytest.raises(OrderClosed, match="paid"):
        cancel(shop, checkout)
    assert shop.told(checkout) == BOUGHT


def test_an_order_whose_money_is_on_its_way_is_not_canceled(shop, kassa_page):
    shop.apply(kassa_page, status="processing", page_open=False)
    with pytest.raises(PaymentInProgress):
        cancel(shop, kassa_page)


def test_anothers_order_is_not_found(shop, kassa_page):
    with pytest.raises(NotFound):
        cancel_order(shop.sessions, shop.providers, order_id=kassa_page["order_id"], user_id=kassa_page["id"])


def test_an_order_whose_page_is_not_known_yet_is_canceled_once_it_is(shop, course_id):
    shop.kassa.faults(drop_response_after_commit=1)
    with pytest.raises(CheckoutOutcomeUnknown) as unknown:
        shop.checkout(course_id, provider="yookassa")
    [attempt] = Order.locked(shop.session, unknown.value.args[0]).attempts
    assert cancel(shop, {"order_id": attempt.order_id})["status"] == "canceled"
    shop.kassa.pay(attempt.page_id, "succeed")
    shop.sync({"id": attempt.id})
    assert taken(shop, {"order_id": attempt.order_id}) == []


# Orders that nobody comes back to.


def test_an_order_that_nobody_can_pay_expires_after_a_day(shop, session, kassa_page):
    shop.pay(kassa_page, "decline")
    shop.come_back(kassa_page)
    expire_orders(session)
    assert shop.order(kassa_page).status == "pending"
    shop.order(kassa_page).created_at -= timedelta(days=1)
    session.flush()
    for _ in range(2):
        expire_orders(session)
    assert shop.order(kassa_page).status == "expired"
    assert shop.told(kassa_page) == ["ORDER_CREATED", "PAYMENT_FAILED", "ORDER_EXPIRED"]


def test_an_order_whose_page_is_open_does_not_expire(shop, session, kassa_page):
    shop.order(kassa_page).created_at -= timedelta(days=2)
    session.flush()
    expire_orders(session)
    assert shop.order(kassa_page).status == "pending"


def test_an_expired_page_expires_its_order(shop, kassa_page):
    attempt = shop.attempt(kassa_page)
    apply_snapshot(shop.session, attempt, snapshot_of(attempt, status="expired", page_open=False))
    assert (shop.order(kassa_page).status, attempt.next_sync_at) == ("expired", None)


# The history.


def test_the_timeline_tells_every_step_from_checkout_to_access(shop, session, course_id, kassa_page):
    second = shop.checkout(course_id)
    shop.pay(second)
    shop.come_back(second)
    let_in = some(EnrollmentCreated, source="order", source_id=str(second["order_id"]))
    note_access(session, event=let_in)
    assert steps(shop, second) == [
        "order_created",
        "payment_begun",
        "payment_requires_action",
        "payment_canceled",
        "payment_begun",
        "payment_requires_action",
        "order_paid",
        "payment_succeeded",
        "access_given",
    ]


def test_a_timeline_is_read_in_pages_and_by_its_owner(shop, session, kassa_page):
    whose = {"order_id": kassa_page["order_id"], "user_id": shop.buyer}
    session.flush()
    first = show_timeline(session, **whose, limit=2, after=None)
    rest = show_timeline(session, **whose, limit=2, after=first["next"])
    assert [step["step"] for step in first["items"] + rest["items"]] == steps(shop, kassa_page)
    assert rest["next"] is None
    with pytest.raises(NotFound):
        show_timeline(session, **whose | {"user_id": kassa_page["id"]}, limit=2, after=None)
