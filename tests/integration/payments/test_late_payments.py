"""Payments that arrive after their order ended, and provider states that the state machine does not expect."""

import pytest

from models.payments import Orders, PaymentAttempt, Refund
from tests.integration.payments.harness import PaymentsHarness, make_offer, paid_snapshot
from tests.integration.payments.subscription_steps import (
    live_attempt,
    lose_charge_response,
    orders,
    run,
    subscribe,
    subscription_events,
)
from workers.payments.payment_flow import apply_payment_snapshot

pytestmark = pytest.mark.usefixtures("harness_with_yookassa", "time")


@pytest.fixture
def subscription(harness, plan):
    return subscribe(harness, plan, "stripe")


@pytest.fixture
def abandoned_charge(harness, subscription, time) -> PaymentAttempt:
    """A charge for the second period whose response was lost and which the provider did not list."""
    time.at = subscription.period_end
    lose_charge_response(harness)
    attempt = live_attempt(harness)
    apply_payment_snapshot(harness.session, attempt, attempt.not_found_snapshot())
    time.advance(minutes=10)
    return attempt


def late_snapshot(attempt: PaymentAttempt):
    return paid_snapshot(attempt, checkout_session_id="pi_late", payment_id="pi_late")


def statuses(harness: PaymentsHarness) -> list[str]:
    harness.session.flush()
    return [order.status for order in orders(harness)]


def test_late_payment_for_paid_period_is_duplicate(harness, subscription, abandoned_charge):
    run(harness)
    period_end = subscription.period_end

    apply_payment_snapshot(harness.session, abandoned_charge, late_snapshot(abandoned_charge))

    assert (abandoned_charge.status, statuses(harness)) == ("duplicate", ["paid", "expired", "paid"])
    assert [refund.reason for refund in Refund.list_for_order(harness.session, abandoned_charge.order_id)] == [
        "paid twice"
    ]
    assert (subscription.period_end, subscription_events(harness, subscription)) == (period_end, ["STARTED", "RENEWED"])


def test_late_payment_replaces_pending_order_of_period(harness, subscription, abandoned_charge, time):
    renewal_order = Orders(harness.session).get_or_create_for_period(
        user_id=harness.buyer,
        subscription_id=subscription.id,
        period=subscription.next_period(),
        at=time.at,
    )
    subscription.record_failed_charge("insufficient_funds", at=time.at)

    apply_payment_snapshot(harness.session, abandoned_charge, late_snapshot(abandoned_charge))

    assert (abandoned_charge.status, statuses(harness)) == ("succeeded", ["paid", "paid", "expired"])
    assert renewal_order.status == "expired"
    assert (subscription.status, subscription.ends_at) == ("active", None)
    assert subscription_events(harness, subscription) == ["STARTED", "RENEWED"]


def test_late_payment_during_another_charge_is_duplicate(harness, subscription, abandoned_charge):
    lose_charge_response(harness)

    apply_payment_snapshot(harness.session, abandoned_charge, late_snapshot(abandoned_charge))

    assert (abandoned_charge.status, statuses(harness)) == ("duplicate", ["paid", "expired", "pending"])


def test_snapshot_violating_constraint_goes_to_review(harness):
    first, second = (harness.attempt(harness.checkout(make_offer(harness.session))) for _ in range(2))
    apply_payment_snapshot(harness.session, first, paid_snapshot(first))

    for _ in range(2):
        apply_payment_snapshot(harness.session, second, paid_snapshot(second, payment_id=first.payment_id))

    harness.session.flush()
    assert (first.status, second.status, second.captured_minor) == ("succeeded", "review", 0)
    assert "uq_payment_attempts_provider_account_payment_id" in second.problem
    assert harness.order({"order_id": second.order_id}).status == "pending"


def test_webhook_violating_constraint_finishes_as_applied(harness):
    first, second = (harness.checkout(make_offer(harness.session)) for _ in range(2))
    harness.pay(second)
    payment_id = harness.providers["stripe"].fetch(harness.attempt(second).checkout_session_id).payment_id
    apply_payment_snapshot(
        harness.session, harness.attempt(first), paid_snapshot(harness.attempt(first), payment_id=payment_id)
    )

    harness.complete_session(second)

    [event] = harness.provider_events()
    assert (event.status, harness.attempt(second).status) == ("applied", "review")
