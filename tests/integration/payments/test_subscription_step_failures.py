"""A failing step of a subscription is postponed and does not delay other subscriptions."""

from contextlib import suppress
from datetime import timedelta

import pytest

from core.messaging import task_queue
from models.payments.subscriptions import OUTCOME_TIMEOUT, RECHECK_DELAY
from tests.integration.payments.subscription_steps import subscribe, subscription_events
from workers.payments import database_metrics
from workers.payments.subscriptions import BATCH_SIZE, process_due_subscriptions, process_subscription

pytestmark = pytest.mark.usefixtures("harness_with_yookassa", "time")


@pytest.fixture
def subscription(harness, plan):
    """A subscription at YooKassa whose next period is due."""
    return subscribe(harness, plan, "yookassa")


def run(harness) -> list:
    """Run the job and its tasks as the worker does: a failing task does not stop the others. Returns the tasks."""
    harness.session.flush()
    harness.enqueued.clear()
    process_due_subscriptions(harness.session, harness.enqueue_after_commit)
    for _task, message in harness.enqueued:
        with suppress(Exception):
            process_subscription(harness.transactions, harness.providers, **message)
    harness.session.flush()
    return [message["subscription_id"] for _task, message in harness.enqueued]


def remove_provider(harness, monkeypatch) -> None:
    harness.providers = {"stripe": harness.providers["stripe"]}
    monkeypatch.setattr("settings.PAYMENT_PROVIDERS", ("stripe",))


def without_provider(harness) -> int:
    harness.session.flush()
    [(count,)] = database_metrics.subscriptions_without_provider(harness.session)
    return count


def test_charge_without_configured_provider_is_postponed(harness, subscription, time, monkeypatch):
    before = without_provider(harness)
    time.at = subscription.period_end

    remove_provider(harness, monkeypatch)
    assert subscription.id in run(harness)

    assert (subscription.status, subscription.next_step_at) == ("active", time.at + RECHECK_DELAY)
    assert subscription.id not in run(harness)
    assert without_provider(harness) >= before + 1


def test_charge_resumes_when_provider_is_configured_again(harness, subscription, time, monkeypatch):
    time.at = subscription.period_end
    configured = harness.providers
    remove_provider(harness, monkeypatch)
    run(harness)
    harness.providers = configured

    time.at += RECHECK_DELAY
    run(harness)

    assert subscription_events(harness, subscription) == ["STARTED", "RENEWED"]


def test_missing_provider_makes_subscription_past_due(harness, subscription, time, monkeypatch):
    remove_provider(harness, monkeypatch)
    time.at = subscription.period_end + OUTCOME_TIMEOUT

    run(harness)

    assert (subscription.status, subscription.problem) == ("past_due", "no_payment_method")


def test_canceled_subscription_ends_without_provider(harness, subscription, time, monkeypatch):
    subscription.cancel(at=time.at)
    remove_provider(harness, monkeypatch)
    time.at = subscription.period_end

    run(harness)

    assert subscription.status == "canceled"


def test_crashing_step_does_not_delay_later_steps(harness, subscription, make_plan, time, monkeypatch):
    monkeypatch.setattr("workers.payments.subscriptions.BATCH_SIZE", 1)
    other = make_plan(name="Other")
    failing = subscription
    time.advance(hours=1)
    checkout = harness.checkout(plan_id=other.id, provider="stripe")
    harness.pay(checkout)
    harness.return_from_checkout(checkout)
    later_id = harness.order(checkout).subscription_id
    time.at = failing.period_end + timedelta(days=1)
    yookassa = harness.providers["yookassa"]

    class Broken:
        def __getattr__(self, name):
            if name == "account":
                raise KeyError(name)
            return getattr(yookassa, name)

    harness.providers = {**harness.providers, "yookassa": Broken()}
    processed = run(harness) + run(harness)

    assert processed == [failing.id, later_id]


def test_due_steps_leave_the_queue_to_buyers(harness, subscription, time, monkeypatch):
    time.at = subscription.period_end
    waiting = iter((BATCH_SIZE, BATCH_SIZE + 1, 0))
    monkeypatch.setattr(task_queue, "count_waiting", lambda _queue: next(waiting))

    assert (run(harness), run(harness)) == ([], [])
    assert subscription.id in run(harness)
