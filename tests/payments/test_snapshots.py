"""What a provider's word does to an attempt and its order."""

from datetime import timedelta

import pytest
from sqlalchemy.exc import IntegrityError

from models.base import now
from models.payments import Attempt, Order
from models.payments.attempts import OF_ANOTHER_OBJECT
from tests.payments.shop import make_offer, paid, told
from workers.payments.sync import apply_snapshot

TAKEN = {"status": "succeeded", "page_open": False, "captured_minor": 4900}


@pytest.fixture
def checkout(shop, session):
    return shop.checkout(make_offer(session))


def test_a_success_pays_the_order_and_tells_of_it(shop, checkout):
    shop.apply(checkout, **TAKEN, payment_id="pi_7")
    attempt, order = shop.attempt(checkout), shop.order(checkout)
    assert (attempt.status, attempt.captured_minor, attempt.payment_id) == ("succeeded", 4900, "pi_7")
    assert (order.status, order.paid_at is not None) == ("paid", True)
    assert shop.told(checkout) == ["ORDER_CREATED", "PAYMENT_SUCCEEDED", "COURSE_PURCHASED"]


def test_the_same_word_twice_changes_nothing(shop, checkout):
    for _ in range(2):
        shop.apply(checkout, **TAKEN)
    assert shop.told(checkout) == ["ORDER_CREATED", "PAYMENT_SUCCEEDED", "COURSE_PURCHASED"]
    assert shop.order(checkout).version == 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount_minor": 100, "captured_minor": 100},
        {"captured_minor": 100},
        {"captured_minor": 0},
        {"currency": "JPY"},
        {"live_mode": True},
        {"account": "another"},
        {"order_id": None},
        {"attempt_id": "another"},
        {"page_id": "cs_another"},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_success_that_does_not_match_is_held_for_review(shop, checkout, wrong):
    shop.apply(checkout, **TAKEN | wrong)
    attempt, order = shop.attempt(checkout), shop.order(checkout)
    # What another page, account or mode has is not ours to count.
    captured_minor = 0 if OF_ANOTHER_OBJECT & set(wrong) else wrong.get("captured_minor", 4900)
    assert (attempt.status, attempt.captured_minor, order.status) == ("review", captured_minor, "pending")
    assert all(name in attempt.problem for name in wrong)
    assert shop.told(checkout) == ["ORDER_CREATED"]


def test_what_is_under_review_gives_way_to_a_matching_success_alone(shop, checkout):
    shop.apply(checkout, amount_minor=100)
    shop.apply(checkout)
    shop.apply(checkout, status="expired", page_open=False)
    assert shop.attempt(checkout).status == "review"
    shop.apply(checkout, **TAKEN)
    assert (shop.attempt(checkout).status, shop.order(checkout).status) == ("succeeded", "paid")


def test_a_decline_is_told_once(shop, checkout):
    declined = {"status": "failed", "failure_reason": "insufficient_funds"}
    shop.apply(checkout, **declined)
    shop.apply(checkout, **declined)
    shop.apply(checkout, status="requires_action")
    shop.apply(checkout, **declined)
    assert (shop.attempt(checkout).status, shop.attempt(checkout).problem) == ("failed", "insufficient_funds")
    assert shop.told(checkout) == ["ORDER_CREATED", "PAYMENT_FAILED"]
    assert shop.order(checkout).status == "pending"


@pytest.mark.parametrize("end", ["failed", "canceled", "expired"])
def test_a_late_success_wins_over_every_other_end(shop, checkout, end):
    shop.apply(checkout, status=end, page_open=False)
    shop.apply(checkout, **TAKEN)
    assert (shop.attempt(checkout).status, shop.order(checkout).status) == ("succeeded", "paid")


@pytest.mark.parametrize("late", ["requires_action", "processing", "authorized", "failed", "canceled", "expired"])
def test_a_success_never_goes_back(shop, checkout, late):
    shop.apply(checkout, **TAKEN)
    shop.apply(checkout, status=late)
    assert (shop.attempt(checkout).status, shop.order(checkout).status) == ("succeeded", "paid")


@pytest.mark.parametrize("late", ["requires_action", "processing", "authorized", "failed"])
def test_an_end_is_not_undone_by_old_news(shop, checkout, late):
    shop.apply(checkout, status="expired", page_open=False)
    shop.apply(checkout, status=late)
    assert shop.attempt(checkout).status == "expired"


def test_an_expired_page_expires_its_order(shop, checkout):
    shop.apply(checkout, status="expired", page_open=False)
    assert (shop.attempt(checkout).status, shop.order(checkout).status) == ("expired", "expired")
    assert shop.told(checkout) == ["ORDER_CREATED", "ORDER_EXPIRED"]


def test_an_expired_order_is_followed_by_a_new_one(shop, session):
    course_id = make_offer(session)
    first = shop.checkout(course_id)
    shop.apply(first, status="expired", page_open=False)
    assert shop.checkout(course_id)["order_id"] != first["order_id"]


def test_money_for_a_paid_order_is_kept_as_a_duplicate(shop, checkout):
    order = Order.locked(shop.session, checkout["order_id"])
    first, second = order.attempts[0], Attempt.begin(order.attempts[0].terms, open_for=timedelta(hours=1), at=now())
    apply_snapshot(shop.session, first, paid(first, status="expired", captured_minor=0, payment_id=None))
    order.attempts.append(second)
    shop.session.flush()
    for attempt, payment_id in ((second, "pi_second"), (first, "pi_first")):
        apply_snapshot(shop.session, attempt, paid(attempt, payment_id=payment_id))
    assert (second.status, first.status, first.captured_minor) == ("succeeded", "duplicate", 4900)
    assert told(shop.session, order.id).count("COURSE_PURCHASED") == 1


def test_the_database_refuses_a_second_live_attempt(shop, checkout):
    order = Order.locked(shop.session, checkout["order_id"])
    order.attempts.append(Attempt.begin(order.attempts[0].terms, open_for=timedelta(hours=1), at=now()))
    with pytest.raises(IntegrityError, match="ux_attempts_live"):
        shop.session.flush()


@pytest.mark.parametrize("counters", [{"captured_minor": -1}, {"refunded_minor": -1}, {"refund_pending_minor": -1}])
def test_database_refuses_impossible_counters(shop, checkout, counters):
    attempt = shop.attempt(checkout)
    for name, value in counters.items():
        setattr(attempt, name, value)
    with pytest.raises(IntegrityError, match="ck_attempts"):
        shop.session.flush()
