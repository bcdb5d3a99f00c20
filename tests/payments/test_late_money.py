"""Money that arrives after its order was given up, and states of a provider that the tables do not allow."""
# ruff: noqa: F811
# The fixtures are those of test_subscriptions.

import pytest

from models.payments import Attempt, Order, Refund
from tests.payments.shop import Shop, make_offer, paid
from tests.payments.test_subscription_deadlines import live_attempt, lose_answers
from tests.payments.test_subscriptions import (  # noqa: F401 fixtures
    make_plan,
    news,
    orders,
    plan,
    run,
    shop,
    subscribed,
    time,
)
from workers.payments.sync import apply_snapshot


@pytest.fixture
def subscription(shop, plan):
    return subscribed(shop, plan, "stripe")


@pytest.fixture
def given_up(shop, subscription, time) -> Attempt:
    """A charge for the second period, whose answer was lost and that was in no list of its provider."""
    time.at = subscription.period_end
    lose_answers(shop)
    attempt = live_attempt(shop)
    apply_snapshot(shop.session, attempt, attempt.never_opened())
    time.advance(minutes=10)
    return attempt


def late(attempt: Attempt):
    return paid(attempt, page_id="pi_late", payment_id="pi_late")


def statuses(shop: Shop) -> list[str]:
    shop.session.flush()
    return [order.status for order in orders(shop)]


def test_late_money_for_a_period_that_another_order_paid_is_a_duplicate(shop, subscription, given_up):
    run(shop)
    period_end = subscription.period_end

    apply_snapshot(shop.session, given_up, late(given_up))

    assert (given_up.status, statuses(shop)) == ("duplicate", ["paid", "expired", "paid"])
    assert [refund.reason for refund in Refund.of_order(shop.session, given_up.order_id)] == ["paid twice"]
    assert (subscription.period_end, news(shop, subscription)) == (period_end, ["STARTED", "RENEWED"])


def test_late_money_pays_the_period_in_place_of_an_order_that_waits(shop, subscription, given_up, time):
    waiting = Order.for_period(
        shop.session,
        user_id=shop.buyer,
        subscription_id=subscription.id,
        period=subscription.next_period(),
        at=time.at,
    )
    subscription.charge_failed("insufficient_funds", at=time.at)

    apply_snapshot(shop.session, given_up, late(given_up))

    assert (given_up.status, statuses(shop)) == ("succeeded", ["paid", "paid", "expired"])
    assert waiting.status == "expired"
    assert (subscription.status, subscription.ends_at) == ("active", None)
    assert news(shop, subscription) == ["STARTED", "RENEWED"]


def test_late_money_for_a_period_that_is_being_charged_for_is_a_duplicate(shop, subscription, given_up):
    lose_answers(shop)

    apply_snapshot(shop.session, given_up, late(given_up))

    assert (given_up.status, statuses(shop)) == ("duplicate", ["paid", "expired", "pending"])


def test_state_that_the_tables_do_not_allow_is_held_for_review(shop):
    first, second = (shop.attempt(shop.checkout(make_offer(shop.session))) for _ in range(2))
    apply_snapshot(shop.session, first, paid(first))

    for _ in range(2):
        apply_snapshot(shop.session, second, paid(second, payment_id=first.payment_id))

    shop.session.flush()
    assert (first.status, second.status, second.captured_minor) == ("succeeded", "review", 0)
    assert "attempts_provider_account_payment_id_key" in second.problem
    assert shop.order({"order_id": second.order_id}).status == "pending"


def test_webhook_whose_state_the_tables_do_not_allow_is_done(shop):
    first, second = (shop.checkout(make_offer(shop.session)) for _ in range(2))
    shop.pay(second)
    taken = shop.providers["stripe"].fetch(shop.attempt(second).page_id).payment_id
    apply_snapshot(shop.session, shop.attempt(first), paid(shop.attempt(first), payment_id=taken))

    shop.hear_completed(second)

    [event] = shop.provider_events()
    assert (event.status, shop.attempt(second).status) == ("applied", "review")
