"""Unpaid access ends at the announced time, even with open sessions and charges of unknown outcome."""

from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import select

from models.errors import PaymentRefused
from models.payments import Orders, Plan, Refund, SavedMethod, Subscription
from models.payments.plans import add_periods
from models.payments.subscriptions import GRACE_PERIOD, OUTCOME_TIMEOUT, RECHECK_DELAY, TRIAL_GRACE_PERIOD
from tests.integration.payments.harness import PaymentsHarness, make_snapshot, paid_snapshot
from tests.integration.payments.subscription_steps import (
    announced_end,
    charge_attempt_count,
    charge_statuses,
    decline,
    last_past_due,
    live_attempt,
    lose_charge_response,
    run,
    start,
    subscribe,
    subscription_events,
)
from workers.payments.payment_flow import apply_payment_snapshot

pytestmark = pytest.mark.usefixtures("harness_with_yookassa", "time")


def subscription_of_plan(harness: PaymentsHarness, plan) -> Subscription:
    harness.session.flush()
    mine = select(Subscription).where(Subscription.user_id == harness.buyer, Subscription.plan_id == plan.id)
    return harness.session.scalars(mine.execution_options(populate_existing=True)).one()


def start_trial(harness: PaymentsHarness, make_plan, provider: str, **fields) -> Subscription:
    """Start a trial of seven days."""
    plan = make_plan(name="With a trial", trial_days=7, **fields)
    start(harness, plan, provider)
    return subscription_of_plan(harness, plan)


# Open checkout sessions.


def test_open_session_does_not_extend_trial(harness, make_plan, time):
    trial = start_trial(harness, make_plan, "stripe")
    harness.checkout(plan_id=trial.plan_id, provider="stripe", success_url="https://shop.test/1")
    time.at = trial.period_end - timedelta(hours=1)
    run(harness)
    page = harness.checkout(plan_id=trial.plan_id, provider="stripe", success_url="https://shop.test/2")

    time.at = trial.period_end
    run(harness)

    assert (trial.status, trial.problem) == ("expired", "trial_ended")
    assert subscription_events(harness, trial) == ["STARTED", "TRIAL_ENDING", "EXPIRED"]
    assert harness.fake_stripe.pay(harness.attempt(page).checkout_session_id, "succeed").status_code == 409
    assert [order.status for order in Orders(harness.session).list_for_user_for_update(harness.buyer)] == ["expired"]


def test_open_session_does_not_extend_dunning(harness, plan, time):
    subscription = subscribe(harness, plan, "yookassa")
    time.at = subscription.period_end
    decline(harness, "permission_revoked")
    run(harness)
    ends_at = announced_end(harness, subscription)
    page = harness.checkout(plan_id=plan.id, provider="stripe")

    time.at = ends_at - timedelta(minutes=1)
    run(harness)
    assert (subscription.status, subscription.ends_at) == ("past_due", ends_at)
    time.at = ends_at
    run(harness)

    assert (subscription.status, subscription.problem) == ("expired", "unpaid")
    assert harness.fake_stripe.pay(harness.attempt(page).checkout_session_id, "succeed").status_code == 409


def test_payment_on_session_after_trial_end_is_voided(harness, make_plan, time):
    trial = start_trial(harness, make_plan, "yookassa")
    page = harness.checkout(plan_id=trial.plan_id, provider="yookassa")
    time.at = trial.period_end
    run(harness)

    harness.pay(page)
    harness.receive_and_apply(
        harness.attempt(page).checkout_session_id, "payment.waiting_for_capture", provider="yookassa"
    )

    assert (trial.status, charge_statuses(harness), harness.attempt(page).captured_minor) == ("expired", [], 0)


def test_unpaid_session_keeps_saved_card_of_trial(harness, make_plan, time):
    subscribe(harness, make_plan(), "stripe")
    trial = start_trial(harness, make_plan, "stripe")

    page = harness.checkout(plan_id=trial.plan_id, provider="yookassa", receipt_email="other@example.com")
    assert (trial.provider, trial.receipt_email) == ("stripe", "ann@example.com")
    time.at = trial.period_end
    run(harness)

    assert (trial.status, trial.provider) == ("active", "stripe")
    assert (harness.attempt(page).superseded, harness.attempt(page).checkout_session_open) == (True, False)
    assert charge_statuses(harness) == ["succeeded"] * 2


def test_paid_session_moves_subscription_to_its_provider(harness, make_plan):
    subscribe(harness, make_plan(), "stripe")
    trial = start_trial(harness, make_plan, "stripe")

    page = harness.checkout(plan_id=trial.plan_id, provider="yookassa", receipt_email="other@example.com")
    harness.pay(page)
    harness.return_from_checkout(page)

    assert (trial.status, trial.provider, trial.receipt_email) == ("active", "yookassa", "other@example.com")


# Failed charges and charges of unknown outcome.


def test_trial_expires_a_day_after_declined_charge(harness, make_plan, time):
    subscribe(harness, make_plan(), "yookassa")
    trial = start_trial(harness, make_plan, "yookassa")
    decline(harness)
    time.at = trial.period_end
    run(harness)
    assert (trial.status, announced_end(harness, trial)) == ("past_due", trial.period_end + TRIAL_GRACE_PERIOD)

    time.at += TRIAL_GRACE_PERIOD
    run(harness)

    assert (trial.status, charge_attempt_count(harness), subscription_events(harness, trial)) == (
        "expired",
        1,
        ["STARTED", "PAST_DUE", "EXPIRED"],
    )


def test_periods_after_past_due_trial_count_from_trial_end(harness, make_plan, time):
    subscribe(harness, make_plan(), "yookassa")
    trial = start_trial(harness, make_plan, "yookassa")
    trial_end = time.at = trial.period_end
    decline(harness)
    run(harness)
    decline(harness, None)
    start(harness, harness.session.get_one(Plan, trial.plan_id), "yookassa")
    assert (trial.status, trial.period_end) == ("active", add_periods(trial_end, "month", 1))

    time.at = trial.period_end
    run(harness)

    assert trial.period_end == add_periods(trial_end, "month", 2)


def test_trial_with_unknown_charge_expires_and_is_refunded_later(harness, make_plan, time):
    subscribe(harness, make_plan(), "stripe")
    trial = start_trial(harness, make_plan, "stripe")
    time.at = trial.period_end
    lose_charge_response(harness)
    attempt = live_attempt(harness)

    time.at += TRIAL_GRACE_PERIOD - timedelta(minutes=1)
    run(harness)
    assert trial.status == "trialing"
    time.at += timedelta(minutes=1)
    run(harness)
    assert (trial.status, trial.problem) == ("expired", "trial_ended")

    apply_payment_snapshot(harness.session, attempt, paid_snapshot(attempt, payment_id="late"))
    [refund] = Refund.list_for_order(harness.session, attempt.order_id)
    assert refund.amount_minor == attempt.captured_minor


def test_renewal_with_unknown_outcome_becomes_past_due(harness, plan, time):
    subscription = subscribe(harness, plan, "stripe")
    time.at = subscription.period_end
    lose_charge_response(harness)
    attempt = live_attempt(harness)

    time.at = subscription.period_end + OUTCOME_TIMEOUT
    run(harness)
    assert (subscription.status, subscription.problem) == ("past_due", "outcome_unknown")
    time.at = announced_end(harness, subscription)
    run(harness)
    assert subscription.status == "expired"

    apply_payment_snapshot(
        harness.session, attempt, make_snapshot(attempt, status="failed", checkout_session_open=False)
    )
    assert [order.status for order in Orders(harness.session).list_for_user_for_update(harness.buyer)] == [
        "paid",
        "expired",
    ]


def test_processing_charge_postpones_next_step(harness, plan, time):
    subscription = subscribe(harness, plan, "stripe")
    time.at = subscription.period_end
    lose_charge_response(harness)
    attempt = live_attempt(harness)
    apply_payment_snapshot(
        harness.session, attempt, make_snapshot(attempt, status="processing", checkout_session_open=False)
    )

    time.advance(days=3)
    run(harness)

    assert (subscription.status, subscription.next_step_at) == ("active", time.at + RECHECK_DELAY)


# Payments by the buyer.


def test_manual_charges_do_not_consume_dunning_retries(harness, plan, time):
    subscription = subscribe(harness, plan, "yookassa")
    time.at = subscription.period_end
    decline(harness)
    run(harness)
    before = (subscription.failed_charges, subscription.next_step_at, subscription.ends_at)

    for _ in range(4):
        with pytest.raises(PaymentRefused):
            start(harness, plan, "yookassa")

    assert (subscription.failed_charges, subscription.next_step_at, subscription.ends_at) == before
    assert subscription.status == "past_due"


# Declines that require an action of the buyer.


def test_charge_requiring_authentication_is_not_retried(harness, plan, time):
    subscription = subscribe(harness, plan, "stripe")
    method = harness.session.scalars(select(SavedMethod).where(SavedMethod.user_id == harness.buyer)).one()
    client = harness.providers["stripe"]._client.v1  # noqa: SLF001 the bank of this card requires a confirmation
    card = client.payment_methods.attach("pm_card_authenticationRequired", {"customer": method.customer_id})
    method.method_id = card.id
    time.at = subscription.period_end
    run(harness)
    time.advance(days=20)
    run(harness)
    assert (subscription.status, subscription.problem, charge_attempt_count(harness)) == (
        "past_due",
        "authentication_required",
        1,
    )
    assert last_past_due(harness, subscription)["is_retried"] is False

    page = harness.checkout(plan_id=plan.id, provider="stripe")
    harness.pay(page)
    harness.return_from_checkout(page)

    assert (subscription.status, subscription.ends_at) == ("active", None)


def test_buyer_is_notified_when_card_is_no_longer_retried(harness, plan, time):
    subscription = subscribe(harness, plan, "yookassa")
    time.at = subscription.period_end
    decline(harness)
    run(harness)
    assert last_past_due(harness, subscription)["is_retried"] is True
    ends_at = announced_end(harness, subscription)

    decline(harness, "permission_revoked")
    time.advance(days=2)
    run(harness)

    assert subscription_events(harness, subscription) == ["STARTED", "PAST_DUE", "PAST_DUE"]
    assert last_past_due(harness, subscription)["is_retried"] is False
    assert announced_end(harness, subscription) == subscription.ends_at == ends_at


@pytest.mark.parametrize(
    "reason",
    [
        "authentication_required",
        "restricted_card",
        "revocation_of_all_authorizations",
        "revocation_of_authorization",
        "stop_payment_order",
        "transaction_not_allowed",
    ],
)
def test_hard_decline_keeps_full_grace_period(plan, time, reason):
    fields = {"id": plan.id, "plan_name": plan.name, "user_id": uuid4(), "failed_charges": 0}
    subscription = Subscription(status="active", period_end=time.at, **fields)

    [past_due] = subscription.record_failed_charge(reason, at=time.at)

    assert subscription.next_step_at == past_due.ends_at == time.at + GRACE_PERIOD
    assert not past_due.is_retried
