"""A subscription lives on the money of its present period: it ends when that goes back, and lasts when it returns."""
# ruff: noqa: F811
# The fixtures are those of test_subscriptions.

from dataclasses import replace

import pytest

from models.payments import DisputeSnapshot, Order, Refund, Subscription
from tests.payments.test_subscriptions import (  # noqa: F401 fixtures
    make_plan,
    news,
    orders,
    plan,
    provider,
    run,
    shop,
    subscribed,
    subscription,
    time,
)
from workers.payments.disputes import apply_dispute
from workers.payments.refunds import apply_refund


def present(shop, subscription: Subscription) -> Order:
    return next(order for order in orders(shop) if order.id == subscription.paid_order_id)


def give_back(shop, order: Order, amount_minor: int | None = None, **fields) -> Refund:
    shop.refund({"order_id": order.id}, amount_minor, **fields)
    return Refund.of_order(shop.session, order.id)[-1]


def bring_back(shop, refund: Refund) -> None:
    """The bank sends the money back, and we hear of it."""
    standin = shop.standin if refund.object_id.startswith("re_") else shop.kassa
    standin.post(f"/__refund/{refund.object_id}", outcome="fail")
    order = Order.locked(shop.session, refund.order_id)
    attempt = order.attempt(refund.attempt_id)
    for snapshot in shop.providers[attempt.provider].refunds_of(attempt.payment_id):
        apply_refund(shop.session, order, attempt, snapshot)
    shop.session.flush()


def test_a_full_refund_of_the_present_period_ends_it_and_nothing_is_charged_again(shop, subscription, time):
    give_back(shop, present(shop, subscription))
    assert (subscription.status, subscription.problem) == ("canceled", "refunded")
    time.advance(days=40)
    run(shop)
    assert news(shop, subscription) == ["STARTED", "EXPIRED"]
    assert len(orders(shop)) == 1


def test_staff_may_leave_the_subscription(shop, subscription, time):
    give_back(shop, present(shop, subscription), keeps_access=True)
    assert (subscription.status, news(shop, subscription)) == ("active", ["STARTED"])
    time.at = subscription.period_end
    run(shop)
    assert news(shop, subscription) == ["STARTED", "RENEWED"]


def test_a_part_that_goes_back_ends_nothing_and_the_rest_does(shop, subscription):
    give_back(shop, present(shop, subscription), 100)
    assert subscription.status == "active"
    give_back(shop, present(shop, subscription))
    assert subscription.status == "canceled"


def test_an_earlier_periods_money_is_not_the_present_ones(shop, subscription, time):
    first = present(shop, subscription)
    time.at = subscription.period_end
    run(shop)
    give_back(shop, first)
    assert (subscription.status, news(shop, subscription)) == ("active", ["STARTED", "RENEWED"])


def test_one_that_is_past_due_is_over_with_the_money_of_its_last_period(shop, subscription, provider, time):
    last = present(shop, subscription)
    time.at = subscription.period_end
    waiting = Order.for_period(
        shop.session,
        user_id=shop.buyer,
        subscription_id=subscription.id,
        period=subscription.next_period(),
        at=time.at,
    )
    subscription.charge_failed("insufficient_funds", at=time.at)
    give_back(shop, last)
    assert (subscription.status, waiting.status) == ("canceled", "expired")


def test_when_the_money_comes_back_it_lasts_until_its_period_ends_and_no_longer(shop, subscription, time):
    refund = give_back(shop, present(shop, subscription))
    bring_back(shop, refund)
    bring_back(shop, refund)
    assert (subscription.status, subscription.cancel_at_period_end) == ("active", True)
    assert news(shop, subscription) == ["STARTED", "EXPIRED", "RESTORED"]
    time.at = subscription.period_end
    run(shop)
    assert news(shop, subscription) == ["STARTED", "EXPIRED", "RESTORED", "EXPIRED"]
    assert len(orders(shop)) == 1


def test_money_that_comes_back_after_the_period_opens_nothing(shop, subscription, time):
    refund = give_back(shop, present(shop, subscription))
    time.at = subscription.period_end
    bring_back(shop, refund)
    assert (subscription.status, news(shop, subscription)) == ("canceled", ["STARTED", "EXPIRED"])


def test_beside_a_newer_subscription_none_is_restored(shop, plan, subscription, provider):
    refund = give_back(shop, present(shop, subscription))
    checkout = shop.checkout(plan_id=plan.id, provider=provider)
    shop.pay(checkout)
    shop.come_back(checkout)
    bring_back(shop, refund)
    assert subscription.status == "canceled"
    assert present_statuses(shop) == ["active", "canceled"]


def test_subscription_is_restored_beside_a_page_that_was_never_paid(shop, plan, subscription, provider):
    refund = give_back(shop, present(shop, subscription))
    checkout = shop.checkout(plan_id=plan.id, provider=provider)

    bring_back(shop, refund)
    shop.pay(checkout)
    shop.come_back(checkout)

    assert (subscription.status, news(shop, subscription)) == ("active", ["STARTED", "EXPIRED", "RESTORED"])
    # What was paid there all the same is released at YooKassa, and refunded at Stripe.
    assert shop.attempt(checkout).refundable_minor == 0


def present_statuses(shop) -> list[str]:
    return [each.status for each in Subscription.page(shop.session, user_id=shop.buyer, limit=9, after=None)]


@pytest.mark.parametrize("reason", ["account_erased", "canceled"])
def test_what_ended_for_another_reason_stays_over(shop, subscription, reason, time):
    order = present(shop, subscription)
    refund = give_back(shop, order, keeps_access=True)
    shop.session.flush()
    subscription.end(at=time.at, reason=reason)
    bring_back(shop, refund)
    assert (subscription.problem, news(shop, subscription)) == (reason, ["STARTED"])


def test_a_dispute_ends_it_and_one_that_is_won_lets_it_last(shop, subscription):
    order = Order.locked(shop.session, subscription.paid_order_id)
    opened = DisputeSnapshot(
        object_id="du_1",
        status="open",
        amount_minor=order.amount_minor,
        currency=order.currency,
        reason="fraudulent",
        respond_by=None,
    )
    apply_dispute(shop.session, order, order.paid_by, opened)
    assert (subscription.status, subscription.problem) == ("canceled", "disputed")
    apply_dispute(shop.session, order, order.attempts[0], replace(opened, status="won"))
    assert (subscription.status, subscription.cancel_at_period_end) == ("active", True)
    assert news(shop, subscription) == ["STARTED", "EXPIRED", "RESTORED"]
