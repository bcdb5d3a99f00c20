"""The life of a subscription at both providers: start, renewal, past due, cancellation, expiry."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from core.db import utc_now
from models.errors import (
    AlreadySubscribed,
    NotFound,
    PaymentMethodMissing,
    PaymentRefused,
    ProviderOutcomeUnknown,
    SubscriptionEnded,
)
from models.events import UserDeleted
from models.payments import Order, Orders, PaymentAttempt, Plan, Refund, SavedMethod, Subscription
from models.payments.plans import add_periods
from models.payments.subscriptions import DUNNING
from tests.integration.payments.harness import event_types, paid_snapshot
from tests.integration.payments.subscription_steps import (
    announced_end,
    charge_attempt_count,
    charge_statuses,
    decline,
    orders,
    run,
    start,
    subscribe,
    subscription_events,
    subscription_of_buyer,
)
from tests.support.events import build_event
from workers.payments.payment_flow import apply_payment_snapshot
from workers.payments.payment_sync import sync_attempt
from workers.payments.personal_data import erase_data
from workers.payments.subscriptions import (
    cancel_subscription,
)

MONTH = timedelta(days=31)

pytestmark = pytest.mark.usefixtures("harness_with_yookassa", "time")


# Start.


def test_paid_session_starts_subscription_and_saves_card(harness, subscription, time, provider):
    assert (subscription.status, subscription.period_start) == ("active", time.at)
    assert subscription.period_end == add_periods(time.at, "month", 1)
    assert subscription_events(harness, subscription) == ["STARTED"]
    [method] = harness.session.scalars(select(SavedMethod).where(SavedMethod.user_id == harness.buyer))
    assert (method.provider, bool(method.customer_id)) == (provider, provider == "stripe")
    [order] = orders(harness)
    assert event_types(harness.session, order.id) == ["PAYMENT_SUCCEEDED"]


def test_unpaid_session_starts_no_subscription(harness, plan, provider, time):
    checkout = harness.checkout(plan_id=plan.id, provider=provider)
    assert harness.checkout(plan_id=plan.id, provider=provider) == checkout
    assert subscription_of_buyer(harness).status == "incomplete"
    harness.apply(checkout, status="expired", checkout_session_open=False)
    time.advance(days=1)
    run(harness)
    assert (subscription_of_buyer(harness).status, subscription_events(harness, subscription_of_buyer(harness))) == (
        "expired",
        [],
    )


def test_active_subscription_blocks_second_one(harness, plan, subscription, provider):
    with pytest.raises(AlreadySubscribed):
        harness.checkout(plan_id=plan.id, provider=provider)
    with pytest.raises(AlreadySubscribed):
        start(harness, plan, provider)


def test_saved_card_starts_subscription_without_session(harness, make_plan, subscription, provider):
    started = start(harness, make_plan(), provider)
    assert (started["status"], charge_statuses(harness)) == ("active", ["succeeded"] * 2)


def test_subscribe_without_saved_card_is_rejected(harness, plan, provider):
    with pytest.raises(PaymentMethodMissing):
        start(harness, plan, provider)


def test_declined_card_starts_no_subscription(harness, make_plan, plan):
    subscribe(harness, plan, "yookassa")
    decline(harness)
    with pytest.raises(PaymentRefused, match="insufficient_funds"):
        start(harness, make_plan(), "yookassa")
    assert charge_statuses(harness) == ["succeeded"]


def test_plan_not_on_sale_is_not_found(harness, make_plan, plan):
    plan.on_sale = False
    with pytest.raises(NotFound):
        harness.checkout(plan_id=plan.id)


# Renewal.


def test_each_period_is_charged_once(harness, subscription, time):
    first_end = subscription.period_end
    run(harness)
    assert subscription_events(harness, subscription) == ["STARTED"]
    time.at = first_end
    for _ in range(3):
        run(harness)
    assert (subscription.period_start, subscription.status) == (first_end, "active")
    time.at = subscription.period_end
    run(harness)
    assert subscription_events(harness, subscription) == ["STARTED", "RENEWED", "RENEWED"]
    assert charge_statuses(harness) == ["succeeded"] * 3
    assert len({order.period_start for order in orders(harness)}) == 3


@pytest.mark.parametrize("age_hours", [0, 24], ids=["found by key", "found in list"])
def test_lost_charge_response_does_not_charge_twice(harness, subscription, provider, time, age_hours):
    time.at = subscription.period_end
    fake_stripe = harness.fake_yookassa if provider == "yookassa" else harness.fake_stripe
    fake_stripe.faults(drop_response_after_commit=1 if provider == "yookassa" else 3)  # Stripe's SDK tries three times
    with pytest.raises(ProviderOutcomeUnknown):
        run(harness)
    run(harness)
    assert subscription.status == "active"  # it waits for the job that asks the provider
    [attempt] = [each for order in orders(harness) for each in order.attempts if each.status == "unknown"]
    attempt.created_at -= timedelta(hours=age_hours)
    sync_attempt(harness.transactions, harness.providers, attempt_id=attempt.id)
    assert (subscription_events(harness, subscription), charge_statuses(harness)) == (
        ["STARTED", "RENEWED"],
        ["succeeded"] * 2,
    )


def test_changed_plan_terms_do_not_affect_subscribers(harness, plan, subscription, time):
    plan.amount_minor = 199000
    time.at = subscription.period_end
    run(harness)
    assert {order.amount_minor for order in orders(harness)} == {99000}


def test_billing_months_count_from_start_date():
    started = datetime(2024, 1, 31, 12, tzinfo=UTC)
    assert [add_periods(started, "month", n).date().isoformat() for n in (1, 2, 13)] == [
        "2024-02-29",
        "2024-03-31",
        "2025-02-28",
    ]
    assert add_periods(started, "year", 1).year == 2025


# Past due.


def test_dunning_retries_until_announced_end(harness, plan, time):
    subscription = subscribe(harness, plan, "yookassa")
    decline(harness)
    time.at = subscription.period_end
    for pause in (timedelta(), *DUNNING):
        time.at += pause - timedelta(minutes=1)
        before = charge_attempt_count(harness)
        run(harness)
        assert charge_attempt_count(harness) == before
        time.advance(minutes=1)
        run(harness)
        assert charge_attempt_count(harness) == before + 1
    time.at = announced_end(harness, subscription) - timedelta(minutes=1)
    run(harness)
    assert subscription.status == "past_due"
    time.advance(minutes=1)
    run(harness)
    assert (subscription.status, subscription.problem, charge_attempt_count(harness)) == ("expired", "unpaid", 5)
    assert subscription_events(harness, subscription) == ["STARTED", "PAST_DUE", "EXPIRED"]
    assert [order.status for order in orders(harness)] == ["paid", "expired"]


def test_successful_dunning_retry_keeps_billing_period(harness, plan, time):
    subscription = subscribe(harness, plan, "yookassa")
    time.at = first_end = subscription.period_end
    decline(harness)
    run(harness)
    decline(harness, None)
    time.advance(days=2)
    run(harness)
    assert (subscription.status, subscription.period_start, subscription.failed_charges) == ("active", first_end, 0)
    assert subscription_events(harness, subscription) == ["STARTED", "PAST_DUE", "RENEWED"]


def test_hard_decline_is_not_retried_but_session_can_pay(harness, plan, time):
    subscription = subscribe(harness, plan, "yookassa")
    time.at = subscription.period_end
    decline(harness, "permission_revoked")
    run(harness)
    time.advance(days=20)
    run(harness)
    assert (charge_attempt_count(harness), subscription.status) == (1, "past_due")
    checkout = harness.checkout(plan_id=plan.id, provider="yookassa")
    harness.pay(checkout)
    harness.return_from_checkout(checkout)
    assert (subscription.status, subscription_events(harness, subscription)) == (
        "active",
        ["STARTED", "PAST_DUE", "RENEWED"],
    )


def test_unpaid_subscription_expires_after_hard_decline(harness, plan, time):
    subscription = subscribe(harness, plan, "yookassa")
    time.at = subscription.period_end
    decline(harness, "permission_revoked")
    run(harness)
    time.advance(days=21)
    run(harness)
    assert (subscription.status, charge_attempt_count(harness)) == ("expired", 1)


def test_stripe_declines_raise_payment_refused(harness, make_plan, plan):
    subscribe(harness, plan, "stripe")
    [method] = harness.session.scalars(select(SavedMethod).where(SavedMethod.user_id == harness.buyer))
    client = harness.providers["stripe"]._client.v1  # noqa: SLF001 a card that only tests have
    card = client.payment_methods.create({"type": "card", "card": {"token": "tok_chargeCustomerFail"}})
    method.method_id = client.payment_methods.attach(card.id, {"customer": method.customer_id}).id
    with pytest.raises(PaymentRefused, match="generic_decline"):
        start(harness, make_plan(), "stripe")
    method.method_id = "pm_gone"
    with pytest.raises(PaymentRefused, match="resource_missing"):
        start(harness, make_plan(), "stripe")


# Trials.


@pytest.fixture
def trial(harness, make_plan, provider) -> Subscription:
    start(harness, make_plan(trial_days=14), provider)
    return subscription_of_buyer(harness)


def test_trial_is_free_and_announces_its_end(harness, trial, time):
    assert (trial.status, trial.period_end, orders(harness)) == ("trialing", time.at + timedelta(days=14), [])
    time.advance(days=11)
    for _ in range(2):
        run(harness)
    assert subscription_events(harness, trial) == ["STARTED", "TRIAL_ENDING"]
    time.advance(days=3)
    run(harness)
    assert (trial.status, trial.problem, subscription_events(harness, trial)[-1]) == (
        "expired",
        "trial_ended",
        "EXPIRED",
    )


def test_trial_paid_on_session_continues_after_its_end(harness, trial, provider, time):
    trial_end = trial.period_end
    checkout = harness.checkout(plan_id=trial.plan_id, provider=provider)
    harness.pay(checkout)
    harness.return_from_checkout(checkout)
    assert (trial.status, trial.period_start) == ("active", trial_end)
    assert trial.period_end == add_periods(trial_end, "month", 1)
    time.at = trial.period_end
    run(harness)
    assert (trial.period_end, charge_statuses(harness)) == (add_periods(trial_end, "month", 2), ["succeeded"] * 2)


def test_trial_with_saved_card_is_charged_at_its_end(harness, make_plan, plan, provider, time):
    subscribe(harness, plan, provider)
    started = start(harness, make_plan(trial_days=7), provider)
    assert started["status"] == "trialing"
    time.advance(days=7)
    run(harness)
    assert harness.session.get_one(Subscription, started["id"]).status == "active"
    assert charge_statuses(harness) == ["succeeded"] * 2


def test_plan_has_one_trial_per_buyer(harness, trial, provider, time):
    time.advance(days=14)
    run(harness)
    with pytest.raises(PaymentMethodMissing):
        start(harness, harness.session.get_one(Plan, trial.plan_id), provider)


def test_checkout_of_trial_plan_needs_no_session(harness, make_plan, provider):
    checkout = harness.checkout(plan_id=make_plan(trial_days=14).id, provider=provider)
    assert (checkout["status"], checkout["amount_minor"], checkout["redirect_url"]) == ("succeeded", 0, None)


# Cancellation.


def test_cancellation_keeps_paid_period(harness, subscription, time):
    for _ in range(2):
        shown = cancel_subscription(harness.session, subscription_id=subscription.id, user_id=harness.buyer)
    assert (shown["status"], shown["cancel_at_period_end"]) == ("active", True)
    time.at = subscription.period_end
    run(harness)
    assert (subscription.status, charge_statuses(harness)) == ("canceled", ["succeeded"])
    assert subscription_events(harness, subscription) == ["STARTED", "CANCELED", "EXPIRED"]
    with pytest.raises(SubscriptionEnded):
        cancel_subscription(harness.session, subscription_id=subscription.id, user_id=harness.buyer)
    with pytest.raises(NotFound):
        cancel_subscription(harness.session, subscription_id=subscription.id, user_id=subscription.id)


def test_erased_user_is_not_charged(harness, subscription, time):
    erase_data(harness.session, event=build_event(UserDeleted, user_id=harness.buyer))
    assert (subscription.status, subscription.problem, subscription.receipt_email) == (
        "expired",
        "account_erased",
        None,
    )
    assert harness.session.scalars(select(SavedMethod).where(SavedMethod.user_id == harness.buyer)).all() == []
    time.at = subscription.period_end
    run(harness)
    assert charge_statuses(harness) == ["succeeded"]


def test_payment_after_subscription_end_is_refunded(harness, plan, time):
    subscription = subscribe(harness, plan, "yookassa")
    late = harness.session.scalars(select(PaymentAttempt).join(Order).where(Order.user_id == harness.buyer)).one()
    order = Orders(harness.session).get_or_create_for_period(
        user_id=harness.buyer,
        subscription_id=subscription.id,
        period=subscription.next_period(),
        at=utc_now(),
    )
    attempt = order.start_attempt(subscription, late.terms, ttl=MONTH, at=utc_now())
    harness.session.flush()
    subscription.end(at=time.at)
    apply_payment_snapshot(harness.session, attempt, paid_snapshot(attempt, payment_id="late"))
    [refund] = Refund.list_for_order(harness.session, order.id)
    assert (refund.amount_minor, subscription.status) == (99000, "expired")
