import pytest

import settings
from models.base import now
from models.errors import (
    AlreadyPurchased,
    CheckoutOutcomeUnknown,
    NotFound,
    PaymentInProgress,
    PaymentRefused,
    ProviderUnavailable,
    ReturnUrlRefused,
)
from models.events import CourseUpdated
from models.payments import Order
from tests.payments.shop import Killed, Shop, make_offer, paid
from workers.payments.offers import change_offer
from workers.payments.sync import apply_snapshot


@pytest.fixture
def course_id(session):
    return make_offer(session)


def pages_of(shop: Shop, order_id) -> list[dict]:
    """The payment pages that Stripe has for an order, newest first."""
    return [page for page in shop.pages() if page["client_reference_id"] == str(order_id)]


def test_a_checkout_opens_a_page_at_the_offers_price(shop, course_id):
    checkout = shop.checkout(course_id)
    [page] = pages_of(shop, checkout["order_id"])
    assert (page["amount_total"], page["currency"], page["success_url"]) == (4900, "usd", "https://shop.test/done")
    assert page["metadata"] == {"order_id": str(checkout["order_id"]), "attempt_id": str(checkout["id"])}
    assert checkout["redirect_url"] == page["url"]
    assert (checkout["status"], checkout["amount_minor"], checkout["currency"]) == ("requires_action", 4900, "USD")
    assert int(checkout["expires_at"].timestamp()) == page["expires_at"]


def test_an_order_is_told_once_when_it_is_made(shop, course_id):
    checkout = shop.checkout(course_id)
    shop.checkout(course_id)
    assert shop.told(checkout) == ["ORDER_CREATED"]


def test_a_second_checkout_on_the_same_terms_returns_the_same_page(shop, course_id):
    first = shop.checkout(course_id)
    assert shop.checkout(course_id) == first
    assert len(pages_of(shop, first["order_id"])) == 1


def test_after_a_decline_the_page_is_still_the_one(shop, course_id):
    first = shop.checkout(course_id)
    shop.pay(first, "decline")
    again = shop.checkout(course_id)
    assert (again["id"], again["redirect_url"], again["status"]) == (first["id"], first["redirect_url"], "failed")


def test_other_terms_close_the_first_page_before_they_open_another(shop, course_id):
    first = shop.checkout(course_id)
    second = shop.checkout(course_id, success_url="https://shop.test/elsewhere")
    assert second["order_id"] == first["order_id"]
    assert [page["status"] for page in pages_of(shop, first["order_id"])] == ["open", "expired"]
    assert shop.attempt(first).status == "expired"
    assert shop.order(first).status == "pending"
    assert shop.told(first) == ["ORDER_CREATED"]


def test_a_new_price_opens_a_new_page(shop, course_id):
    first = shop.checkout(course_id)
    reprice(shop, course_id, 3900)
    second = shop.checkout(course_id)
    assert (first["amount_minor"], second["amount_minor"], shop.order(second).amount_minor) == (4900, 3900, 3900)
    assert [page["status"] for page in pages_of(shop, first["order_id"])] == ["open", "expired"]


def test_an_open_page_is_paid_at_the_price_it_was_opened_with(shop, course_id):
    checkout = shop.checkout(course_id)
    reprice(shop, course_id, 3900)
    shop.pay(checkout)
    shop.hear_completed(checkout)
    assert (shop.order(checkout).status, shop.order(checkout).amount_minor) == ("paid", 4900)


def test_a_page_that_was_paid_meanwhile_is_not_replaced(shop, course_id):
    checkout = shop.checkout(course_id)
    shop.pay(checkout)
    with pytest.raises(AlreadyPurchased):
        shop.checkout(course_id, success_url="https://shop.test/elsewhere")
    assert shop.order(checkout).status == "paid"
    assert len(pages_of(shop, checkout["order_id"])) == 1


def test_a_course_that_was_bought_is_not_sold_again(shop, course_id):
    checkout = shop.checkout(course_id)
    shop.pay(checkout)
    shop.hear_completed(checkout)
    with pytest.raises(AlreadyPurchased):
        shop.checkout(course_id)


def test_two_buyers_have_an_order_each(shop, course_id):
    mine = shop.checkout(course_id)
    theirs = shop.checkout(course_id, user_id=make_offer(shop.session))
    assert mine["order_id"] != theirs["order_id"]


def test_a_payment_on_its_way_is_waited_for(shop, course_id):
    checkout = shop.checkout(course_id)
    shop.pay(checkout, "processing")
    for terms in ({}, {"success_url": "https://shop.test/elsewhere"}):
        with pytest.raises(PaymentInProgress):
            shop.checkout(course_id, **terms)
    assert shop.attempt(checkout).status == "processing"


def test_an_unknown_course_is_not_found(shop):
    with pytest.raises(NotFound):
        shop.checkout(shop.buyer)


def test_a_free_course_is_fulfilled_at_once(shop, session):
    checkout = shop.checkout(make_offer(session, price_minor=0))
    assert (checkout["status"], checkout["redirect_url"], checkout["amount_minor"]) == ("succeeded", None, 0)
    assert shop.order(checkout).status == "paid"
    assert shop.told(checkout) == ["ORDER_CREATED", "COURSE_PURCHASED"]
    assert shop.come_back(checkout)["status"] == "paid"


def test_an_order_whose_course_became_free_loses_its_page_and_is_fulfilled(shop, course_id):
    first = shop.checkout(course_id)
    reprice(shop, course_id, 0)
    second = shop.checkout(course_id)
    assert (second["order_id"], second["status"]) == (first["order_id"], "succeeded")
    assert [page["status"] for page in pages_of(shop, first["order_id"])] == ["expired"]
    assert shop.told(first) == ["ORDER_CREATED", "COURSE_PURCHASED"]


def test_a_checkout_cut_off_after_the_call_opens_one_page(shop, course_id):
    dying = shop.sessions
    dying.killed_before = 2
    with pytest.raises(Killed):
        shop.checkout(course_id, sessions=dying)
    checkout = shop.checkout(course_id)
    assert len(pages_of(shop, checkout["order_id"])) == 1
    shop.pay(checkout)
    shop.hear_completed(checkout)
    assert [row["amount_minor"] for row in shop.standin.payments_of(str(checkout["order_id"]))] == [4900]
    assert shop.told(checkout) == ["ORDER_CREATED", "PAYMENT_SUCCEEDED", "COURSE_PURCHASED"]


@pytest.mark.parametrize("fault", ["error_500", "drop_response_after_commit"])
def test_an_unclear_answer_is_a_409_with_the_order_and_no_failure(shop, course_id, fault):
    shop.standin.faults(**{fault: 3})  # the SDK tries three times
    with pytest.raises(CheckoutOutcomeUnknown) as unknown:
        shop.checkout(course_id)
    order = Order.locked(shop.session, unknown.value.args[0])
    [attempt] = order.attempts
    assert (order.status, attempt.status) == ("pending", "unknown")


@pytest.mark.parametrize("fault", ["error_500", "drop_response_after_commit"])
def test_a_repeat_after_an_unclear_answer_gets_the_one_page(shop, course_id, fault):
    shop.standin.faults(**{fault: 3})
    with pytest.raises(CheckoutOutcomeUnknown) as unknown:
        shop.checkout(course_id)
    checkout = shop.checkout(course_id)
    assert str(checkout["order_id"]) == unknown.value.args[0]
    assert len(pages_of(shop, checkout["order_id"])) == 1


def test_a_single_lost_answer_is_not_noticed(shop, course_id):
    shop.standin.faults(drop_response_after_commit=1)
    checkout = shop.checkout(course_id)
    assert len(pages_of(shop, checkout["order_id"])) == 1


def test_a_provider_that_turns_us_away_has_done_nothing(shop, course_id):
    shop.standin.faults(error_429=1)
    with pytest.raises(ProviderUnavailable):
        shop.checkout(course_id)
    assert shop.checkout(course_id)["status"] == "requires_action"


def test_a_refusal_of_the_provider_ends_the_attempt_and_not_the_order(shop, session):
    course_id = make_offer(session)
    with pytest.raises(PaymentRefused, match="url_invalid"):
        shop.checkout(course_id, success_url="ftp://shop.test/done")
    checkout = shop.checkout(course_id)
    assert [attempt.status for attempt in Order.locked(session, checkout["order_id"]).attempts] == [
        "failed",
        "requires_action",
    ]


def test_a_late_success_of_a_closed_page_wins(shop, course_id):
    first = shop.checkout(course_id)
    second = shop.checkout(course_id, success_url="https://shop.test/elsewhere")
    apply_snapshot(shop.session, shop.attempt(first), paid(shop.attempt(first)))
    assert shop.order(first).status == "paid"
    shop.pay(second)
    shop.hear_completed(second)
    assert (shop.attempt(first).status, shop.attempt(second).status) == ("succeeded", "duplicate")
    assert shop.told(first) == ["ORDER_CREATED", "PAYMENT_SUCCEEDED", "COURSE_PURCHASED"]


@pytest.mark.parametrize("url", ["https://evil.test/done", "https://shop.test@evil.test/", "http://shop.test/done"])
def test_a_foreign_return_address_is_refused(shop, course_id, monkeypatch, url):
    monkeypatch.setattr(settings, "RETURN_URL_ORIGINS", ("https://shop.test",))
    with pytest.raises(ReturnUrlRefused):
        shop.checkout(course_id, success_url=url)
    with pytest.raises(ReturnUrlRefused):
        shop.checkout(course_id, cancel_url=url)
    assert shop.checkout(course_id)["status"] == "requires_action"


def reprice(shop: Shop, course_id, price_minor: int) -> None:
    event = CourseUpdated(
        course_id=course_id,
        slug="sourdough",
        title="Sourdough",
        on_sale=True,
        price_minor=price_minor,
        currency="USD",
        updated_at=now(),
    )
    change_offer(shop.session, event=event)
    shop.session.expire_all()
