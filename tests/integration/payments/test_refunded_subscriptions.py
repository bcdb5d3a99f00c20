"""A refund of the current period ends a subscription; its reversal restores the subscription."""

from dataclasses import replace

import pytest

from models.payments import DisputeSnapshot, Order, Orders, Refund, Subscription, Subscriptions
from tests.integration.payments.subscription_steps import orders, run, subscription_events
from workers.payments.disputes import apply_dispute
from workers.payments.refunds import apply_refund

pytestmark = pytest.mark.usefixtures("harness_with_yookassa", "time")


def current_order(harness, subscription: Subscription) -> Order:
    return next(order for order in orders(harness) if order.id == subscription.paid_order_id)


def refund_order(harness, order: Order, amount_minor: int | None = None, **fields) -> Refund:
    harness.refund({"order_id": order.id}, amount_minor, **fields)
    return Refund.list_for_order(harness.session, order.id)[-1]


def reverse_refund(harness, refund: Refund) -> None:
    """Return a refund by the bank, and apply the webhook."""
    fake_stripe = harness.fake_stripe if refund.object_id.startswith("re_") else harness.fake_yookassa
    fake_stripe.post(f"/__refund/{refund.object_id}", outcome="fail")
    order = Orders(harness.session).get_for_update(refund.order_id)
    attempt = order.attempt(refund.attempt_id)
    for snapshot in harness.providers[attempt.provider].list_refunds(attempt.payment_id):
        apply_refund(harness.session, order, attempt, snapshot)
    harness.session.flush()


def test_full_refund_of_current_period_ends_subscription(harness, subscription, time):
    refund_order(harness, current_order(harness, subscription))
    assert (subscription.status, subscription.problem) == ("canceled", "refunded")
    time.advance(days=40)
    run(harness)
    assert subscription_events(harness, subscription) == ["STARTED", "EXPIRED"]
    assert len(orders(harness)) == 1


def test_refund_with_kept_access_keeps_subscription(harness, subscription, time):
    refund_order(harness, current_order(harness, subscription), keeps_access=True)
    assert (subscription.status, subscription_events(harness, subscription)) == ("active", ["STARTED"])
    time.at = subscription.period_end
    run(harness)
    assert subscription_events(harness, subscription) == ["STARTED", "RENEWED"]


def test_partial_refund_keeps_subscription(harness, subscription):
    refund_order(harness, current_order(harness, subscription), 100)
    assert subscription.status == "active"
    refund_order(harness, current_order(harness, subscription))
    assert subscription.status == "canceled"


def test_refund_of_earlier_period_keeps_subscription(harness, subscription, time):
    first = current_order(harness, subscription)
    time.at = subscription.period_end
    run(harness)
    refund_order(harness, first)
    assert (subscription.status, subscription_events(harness, subscription)) == ("active", ["STARTED", "RENEWED"])


def test_refund_of_last_period_ends_past_due_subscription(harness, subscription, provider, time):
    last = current_order(harness, subscription)
    time.at = subscription.period_end
    renewal_order = Orders(harness.session).get_or_create_for_period(
        user_id=harness.buyer,
        subscription_id=subscription.id,
        period=subscription.next_period(),
        at=time.at,
    )
    subscription.record_failed_charge("insufficient_funds", at=time.at)
    refund_order(harness, last)
    assert (subscription.status, renewal_order.status) == ("canceled", "expired")


def test_refund_reversal_restores_until_period_end(harness, subscription, time):
    refund = refund_order(harness, current_order(harness, subscription))
    reverse_refund(harness, refund)
    reverse_refund(harness, refund)
    assert (subscription.status, subscription.cancel_at_period_end) == ("active", True)
    assert subscription_events(harness, subscription) == ["STARTED", "EXPIRED", "RESTORED"]
    time.at = subscription.period_end
    run(harness)
    assert subscription_events(harness, subscription) == ["STARTED", "EXPIRED", "RESTORED", "EXPIRED"]
    assert len(orders(harness)) == 1


def test_refund_reversal_after_period_end_restores_nothing(harness, subscription, time):
    refund = refund_order(harness, current_order(harness, subscription))
    time.at = subscription.period_end
    reverse_refund(harness, refund)
    assert (subscription.status, subscription_events(harness, subscription)) == ("canceled", ["STARTED", "EXPIRED"])


def test_refund_reversal_beside_newer_subscription_has_no_effect(harness, plan, subscription, provider):
    refund = refund_order(harness, current_order(harness, subscription))
    checkout = harness.checkout(plan_id=plan.id, provider=provider)
    harness.pay(checkout)
    harness.return_from_checkout(checkout)
    reverse_refund(harness, refund)
    assert subscription.status == "canceled"
    assert subscription_statuses(harness) == ["active", "canceled"]


def test_refund_reversal_restores_beside_unpaid_session(harness, plan, subscription, provider):
    refund = refund_order(harness, current_order(harness, subscription))
    checkout = harness.checkout(plan_id=plan.id, provider=provider)

    reverse_refund(harness, refund)
    harness.pay(checkout)
    harness.return_from_checkout(checkout)

    assert (subscription.status, subscription_events(harness, subscription)) == (
        "active",
        ["STARTED", "EXPIRED", "RESTORED"],
    )
    # The payment is voided at YooKassa and refunded at Stripe.
    assert harness.attempt(checkout).refundable_minor == 0


def subscription_statuses(harness) -> list[str]:
    return [
        each.status for each in Subscriptions(harness.session).list_page(user_id=harness.buyer, limit=9, after=None)
    ]


@pytest.mark.parametrize("reason", ["account_erased", "canceled"])
def test_refund_reversal_ignores_other_end_reasons(harness, subscription, reason, time):
    order = current_order(harness, subscription)
    refund = refund_order(harness, order, keeps_access=True)
    harness.session.flush()
    subscription.end(at=time.at, reason=reason)
    reverse_refund(harness, refund)
    assert (subscription.problem, subscription_events(harness, subscription)) == (reason, ["STARTED"])


def test_dispute_ends_and_won_dispute_restores_subscription(harness, subscription):
    order = Orders(harness.session).get_for_update(subscription.paid_order_id)
    opened = DisputeSnapshot(
        object_id="du_1",
        status="open",
        amount_minor=order.amount_minor,
        currency=order.currency,
        reason="fraudulent",
        respond_by=None,
    )
    apply_dispute(harness.session, order, order.successful_attempt, opened)
    assert (subscription.status, subscription.problem) == ("canceled", "disputed")
    apply_dispute(harness.session, order, order.attempts[0], replace(opened, status="won"))
    assert (subscription.status, subscription.cancel_at_period_end) == ("active", True)
    assert subscription_events(harness, subscription) == ["STARTED", "EXPIRED", "RESTORED"]
