"""A subscription whose step fails waits, and does not hold up the steps of other subscriptions."""
# ruff: noqa: F811
# The fixtures are those of test_subscriptions.

from contextlib import suppress
from datetime import timedelta

import pytest

from models.payments.subscriptions import LOOK_AGAIN_AFTER, OUTCOME_KNOWN_WITHIN
from tests.payments.test_subscriptions import (  # noqa: F401 fixtures
    make_plan,
    news,
    plan,
    shop,
    subscribed,
    time,
)
from workers.payments import facts
from workers.payments.subscriptions import advance_subscription, advance_subscriptions


@pytest.fixture
def subscription(shop, plan):
    """A subscription at YooKassa whose next period is due."""
    return subscribed(shop, plan, "yookassa")


def run(shop) -> list:
    """Run the job and its tasks as the worker does: a task that raises does not stop the others. Returns the tasks."""
    shop.session.flush()
    shop.poked.clear()
    advance_subscriptions(shop.session, shop.poke)
    for _task, message in shop.poked:
        with suppress(Exception):
            advance_subscription(shop.sessions, shop.providers, **message)
    shop.session.flush()
    return [message["subscription_id"] for _task, message in shop.poked]


def remove_provider(shop, monkeypatch) -> None:
    shop.providers = {"stripe": shop.providers["stripe"]}
    monkeypatch.setattr("settings.PAYMENT_PROVIDERS", ("stripe",))


def without_provider(shop) -> int:
    shop.session.flush()
    [(count,)] = facts.subscriptions_without_provider(shop.session)
    return count


def test_charge_at_a_provider_that_is_not_configured_is_postponed_and_reported(shop, subscription, time, monkeypatch):
    before = without_provider(shop)
    time.at = subscription.period_end

    remove_provider(shop, monkeypatch)
    assert subscription.id in run(shop)

    assert (subscription.status, subscription.next_step_at) == ("active", time.at + LOOK_AGAIN_AFTER)
    assert subscription.id not in run(shop)
    assert without_provider(shop) >= before + 1


def test_charge_is_made_when_the_provider_is_configured_again(shop, subscription, time, monkeypatch):
    time.at = subscription.period_end
    configured = shop.providers
    remove_provider(shop, monkeypatch)
    run(shop)
    shop.providers = configured

    time.at += LOOK_AGAIN_AFTER
    run(shop)

    assert news(shop, subscription) == ["STARTED", "RENEWED"]


def test_access_waits_for_a_missing_provider_no_longer_than_for_an_unknown_outcome(
    shop, subscription, time, monkeypatch
):
    remove_provider(shop, monkeypatch)
    time.at = subscription.period_end + OUTCOME_KNOWN_WITHIN

    run(shop)

    assert (subscription.status, subscription.problem) == ("past_due", "no_payment_method")


def test_subscription_of_a_missing_provider_ends_when_it_was_canceled(shop, subscription, time, monkeypatch):
    subscription.cancel(at=time.at)
    remove_provider(shop, monkeypatch)
    time.at = subscription.period_end

    run(shop)

    assert subscription.status == "canceled"


def test_steps_that_crash_do_not_hold_up_later_ones(shop, subscription, make_plan, time, monkeypatch):
    monkeypatch.setattr("workers.payments.subscriptions.STEPS_A_RUN", 1)
    other = make_plan(name="Other")
    failing = subscription
    time.advance(hours=1)
    checkout = shop.checkout(plan_id=other.id, provider="stripe")
    shop.pay(checkout)
    shop.come_back(checkout)
    later_id = shop.order(checkout).subscription_id
    time.at = failing.period_end + timedelta(days=1)
    at_kassa = shop.providers["yookassa"]

    class Broken:
        def __getattr__(self, name):
            if name == "account":
                raise KeyError(name)
            return getattr(at_kassa, name)

    shop.providers = {**shop.providers, "yookassa": Broken()}
    stepped = run(shop) + run(shop)

    assert stepped == [failing.id, later_id]
