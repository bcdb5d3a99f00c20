"""Access without payment ends when it was announced to, whatever pages are open and whatever charges are unknown."""
# ruff: noqa: F811
# The fixtures are those of test_subscriptions.

from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import select

from models.errors import PaymentRefused, ProviderOutcomeUnknown
from models.payments import Attempt, Order, Plan, Refund, SavedMethod, Subscription
from models.payments.plans import after_periods
from models.payments.subscriptions import (
    LOOK_AGAIN_AFTER,
    OUTCOME_KNOWN_WITHIN,
    PAST_DUE_FOR,
    TRIAL_GRACE,
)
from tests.payments.shop import Shop, paid, snapshot_of
from tests.payments.test_subscriptions import (  # noqa: F401 fixtures
    announced_end,
    charged,
    decline,
    last_past_due,
    make_plan,
    news,
    plan,
    run,
    shop,
    start,
    subscribed,
    time,
    tries,
)
from workers.payments.sync import apply_snapshot


def of_plan(shop: Shop, plan) -> Subscription:
    shop.session.flush()
    mine = select(Subscription).where(Subscription.user_id == shop.buyer, Subscription.plan_id == plan.id)
    return shop.session.scalars(mine.execution_options(populate_existing=True)).one()


def live_attempt(shop: Shop) -> Attempt:
    [attempt] = (each for order in Order.all_of(shop.session, shop.buyer) for each in order.attempts if each.is_live)
    return attempt


def lose_answers(shop: Shop) -> None:
    """Run the job while Stripe's answer to the charge is lost."""
    shop.standin.faults(drop_response_after_commit=3)  # its SDK repeats a call twice
    with pytest.raises(ProviderOutcomeUnknown):
        run(shop)


def begin_trial(shop: Shop, make_plan, provider: str, **fields) -> Subscription:
    """A trial of seven days."""
    plan = make_plan(name="With a trial", trial_days=7, **fields)
    start(shop, plan, provider)
    return of_plan(shop, plan)


# Open pages.


def test_open_page_does_not_prolong_a_trial(shop, make_plan, time):
    trial = begin_trial(shop, make_plan, "stripe")
    shop.checkout(plan_id=trial.plan_id, provider="stripe", success_url="https://shop.test/1")
    time.at = trial.period_end - timedelta(hours=1)
    run(shop)
    page = shop.checkout(plan_id=trial.plan_id, provider="stripe", success_url="https://shop.test/2")

    time.at = trial.period_end
    run(shop)

    assert (trial.status, trial.problem) == ("expired", "trial_ended")
    assert news(shop, trial) == ["STARTED", "TRIAL_ENDING", "EXPIRED"]
    assert shop.standin.pay(shop.attempt(page).page_id, "succeed").status_code == 409
    assert [order.status for order in Order.all_of(shop.session, shop.buyer)] == ["expired"]


def test_open_page_does_not_prolong_dunning(shop, plan, time):
    subscription = subscribed(shop, plan, "yookassa")
    time.at = subscription.period_end
    decline(shop, "permission_revoked")
    run(shop)
    ends_at = announced_end(shop, subscription)
    page = shop.checkout(plan_id=plan.id, provider="stripe")

    time.at = ends_at - timedelta(minutes=1)
    run(shop)
    assert (subscription.status, subscription.ends_at) == ("past_due", ends_at)
    time.at = ends_at
    run(shop)

    assert (subscription.status, subscription.problem) == ("expired", "unpaid")
    assert shop.standin.pay(shop.attempt(page).page_id, "succeed").status_code == 409


def test_what_is_paid_on_a_page_that_outlives_its_subscription_is_released(shop, make_plan, time):
    trial = begin_trial(shop, make_plan, "yookassa")
    page = shop.checkout(plan_id=trial.plan_id, provider="yookassa")
    time.at = trial.period_end
    run(shop)

    shop.pay(page)
    shop.hear(shop.attempt(page).page_id, "payment.waiting_for_capture", provider="yookassa")

    assert (trial.status, charged(shop), shop.attempt(page).captured_minor) == ("expired", [], 0)


def test_page_that_is_not_paid_keeps_the_saved_card_of_a_trial(shop, make_plan, time):
    subscribed(shop, make_plan(), "stripe")
    trial = begin_trial(shop, make_plan, "stripe")

    page = shop.checkout(plan_id=trial.plan_id, provider="yookassa", receipt_email="other@example.com")
    assert (trial.provider, trial.receipt_email) == ("stripe", "ann@example.com")
    time.at = trial.period_end
    run(shop)

    assert (trial.status, trial.provider) == ("active", "stripe")
    assert (shop.attempt(page).superseded, shop.attempt(page).page_open) == (True, False)
    assert charged(shop) == ["succeeded"] * 2


def test_page_that_is_paid_takes_the_subscription_to_its_provider(shop, make_plan):
    subscribed(shop, make_plan(), "stripe")
    trial = begin_trial(shop, make_plan, "stripe")

    page = shop.checkout(plan_id=trial.plan_id, provider="yookassa", receipt_email="other@example.com")
    shop.pay(page)
    shop.come_back(page)

    assert (trial.status, trial.provider, trial.receipt_email) == ("active", "yookassa", "other@example.com")


# Charges that fail, or whose outcome is not known.


def test_trial_whose_charge_is_declined_ends_after_a_day(shop, make_plan, time):
    subscribed(shop, make_plan(), "yookassa")
    trial = begin_trial(shop, make_plan, "yookassa")
    decline(shop)
    time.at = trial.period_end
    run(shop)
    assert (trial.status, announced_end(shop, trial)) == ("past_due", trial.period_end + TRIAL_GRACE)

    time.at += TRIAL_GRACE
    run(shop)

    assert (trial.status, tries(shop), news(shop, trial)) == ("expired", 1, ["STARTED", "PAST_DUE", "EXPIRED"])


def test_periods_after_a_trial_that_was_past_due_are_counted_from_its_end(shop, make_plan, time):
    subscribed(shop, make_plan(), "yookassa")
    trial = begin_trial(shop, make_plan, "yookassa")
    trial_end = time.at = trial.period_end
    decline(shop)
    run(shop)
    decline(shop, None)
    start(shop, shop.session.get_one(Plan, trial.plan_id), "yookassa")
    assert (trial.status, trial.period_end) == ("active", after_periods(trial_end, "month", 1))

    time.at = trial.period_end
    run(shop)

    assert trial.period_end == after_periods(trial_end, "month", 2)


def test_trial_whose_charge_has_no_outcome_ends_after_a_day_and_late_money_goes_back(shop, make_plan, time):
    subscribed(shop, make_plan(), "stripe")
    trial = begin_trial(shop, make_plan, "stripe")
    time.at = trial.period_end
    lose_answers(shop)
    attempt = live_attempt(shop)

    time.at += TRIAL_GRACE - timedelta(minutes=1)
    run(shop)
    assert trial.status == "trialing"
    time.at += timedelta(minutes=1)
    run(shop)
    assert (trial.status, trial.problem) == ("expired", "trial_ended")

    apply_snapshot(shop.session, attempt, paid(attempt, payment_id="late"))
    [refund] = Refund.of_order(shop.session, attempt.order_id)
    assert refund.amount_minor == attempt.captured_minor


def test_renewal_without_an_outcome_is_past_due_and_ends(shop, plan, time):
    subscription = subscribed(shop, plan, "stripe")
    time.at = subscription.period_end
    lose_answers(shop)
    attempt = live_attempt(shop)

    time.at = subscription.period_end + OUTCOME_KNOWN_WITHIN
    run(shop)
    assert (subscription.status, subscription.problem) == ("past_due", "outcome_unknown")
    time.at = announced_end(shop, subscription)
    run(shop)
    assert subscription.status == "expired"

    apply_snapshot(shop.session, attempt, snapshot_of(attempt, status="failed", page_open=False))
    assert [order.status for order in Order.all_of(shop.session, shop.buyer)] == ["paid", "expired"]


def test_charge_that_is_processed_is_waited_for(shop, plan, time):
    subscription = subscribed(shop, plan, "stripe")
    time.at = subscription.period_end
    lose_answers(shop)
    attempt = live_attempt(shop)
    apply_snapshot(shop.session, attempt, snapshot_of(attempt, status="processing", page_open=False))

    time.advance(days=3)
    run(shop)

    assert (subscription.status, subscription.next_step_at) == ("active", time.at + LOOK_AGAIN_AFTER)


# The buyer's own tries.


def test_the_buyers_own_tries_do_not_use_up_dunning(shop, plan, time):
    subscription = subscribed(shop, plan, "yookassa")
    time.at = subscription.period_end
    decline(shop)
    run(shop)
    before = (subscription.failed_charges, subscription.next_step_at, subscription.ends_at)

    for _ in range(4):
        with pytest.raises(PaymentRefused):
            start(shop, plan, "yookassa")

    assert (subscription.failed_charges, subscription.next_step_at, subscription.ends_at) == before
    assert subscription.status == "past_due"


# Declines that only the buyer can mend.


def test_charge_that_needs_the_buyers_confirmation_is_not_repeated_and_a_page_pays(shop, plan, time):
    subscription = subscribed(shop, plan, "stripe")
    method = shop.session.scalars(select(SavedMethod).where(SavedMethod.user_id == shop.buyer)).one()
    client = shop.providers["stripe"]._client.v1  # noqa: SLF001 the bank of this card asks for a confirmation
    asking = client.payment_methods.attach("pm_card_authenticationRequired", {"customer": method.customer_id})
    method.method_id = asking.id
    time.at = subscription.period_end
    run(shop)
    time.advance(days=20)
    run(shop)
    assert (subscription.status, subscription.problem, tries(shop)) == ("past_due", "authentication_required", 1)
    assert last_past_due(shop, subscription)["is_retried"] is False

    page = shop.checkout(plan_id=plan.id, provider="stripe")
    shop.pay(page)
    shop.come_back(page)

    assert (subscription.status, subscription.ends_at) == ("active", None)


def test_buyer_is_notified_again_when_the_card_is_not_tried_again(shop, plan, time):
    subscription = subscribed(shop, plan, "yookassa")
    time.at = subscription.period_end
    decline(shop)
    run(shop)
    assert last_past_due(shop, subscription)["is_retried"] is True
    ends_at = announced_end(shop, subscription)

    decline(shop, "permission_revoked")
    time.advance(days=2)
    run(shop)

    assert news(shop, subscription) == ["STARTED", "PAST_DUE", "PAST_DUE"]
    assert last_past_due(shop, subscription)["is_retried"] is False
    assert announced_end(shop, subscription) == subscription.ends_at == ends_at


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
def test_hard_decline_leaves_the_whole_time_to_pay_on_a_page(plan, time, reason):
    begun = {"id": plan.id, "plan_name": plan.name, "user_id": uuid4(), "failed_charges": 0}
    subscription = Subscription(status="active", period_end=time.at, **begun)

    [past_due] = subscription.charge_failed(reason, at=time.at)

    assert subscription.next_step_at == past_due.ends_at == time.at + PAST_DUE_FOR
    assert not past_due.is_retried
