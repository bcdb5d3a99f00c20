"""Steps of the subscription tests: subscribe, run the job that is due, read what happened."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from core.bus.outbox import OutboxEvent
from core.db import utc_now
from models.errors import ProviderOutcomeUnknown
from models.payments import Order, Orders, PaymentAttempt, Plan, SavedMethod, Subscription
from tests.integration.payments.harness import PaymentsHarness, event_types
from workers.payments.subscriptions import process_due_subscriptions, process_subscription, start_subscription


class Clock:
    def __init__(self) -> None:
        self.at = utc_now()

    def __call__(self) -> datetime:
        return self.at

    def advance(self, **time: float) -> None:
        self.at += timedelta(**time)


def subscribe(harness: PaymentsHarness, plan: Plan, provider: str) -> Subscription:
    checkout = harness.checkout(plan_id=plan.id, provider=provider)
    harness.pay(checkout)
    harness.return_from_checkout(checkout)
    return subscription_of_buyer(harness)


def subscription_of_buyer(harness: PaymentsHarness) -> Subscription:
    harness.session.flush()
    [subscription] = harness.session.scalars(select(Subscription).where(Subscription.user_id == harness.buyer))
    return subscription


def start(harness: PaymentsHarness, plan: Plan, provider: str) -> dict:
    command = {"user_id": harness.buyer, "plan_id": plan.id, "provider": provider, "receipt_email": "ann@example.com"}
    return start_subscription(harness.transactions, harness.providers, **command)


def run(harness: PaymentsHarness) -> None:
    """Run the tasks that the job enqueues."""
    harness.session.flush()
    harness.enqueued.clear()
    process_due_subscriptions(harness.session, harness.enqueue_after_commit)
    for _task, message in harness.enqueued:
        process_subscription(harness.transactions, harness.providers, **message)
    harness.session.flush()


def subscription_events(harness: PaymentsHarness, subscription: Subscription) -> list[str]:
    return [type_.removeprefix("SUBSCRIPTION_") for type_ in event_types(harness.session, subscription.id)]


def announced_end(harness: PaymentsHarness, subscription: Subscription) -> datetime:
    return datetime.fromisoformat(last_past_due(harness, subscription)["ends_at"])


def last_past_due(harness: PaymentsHarness, subscription: Subscription) -> dict:
    """Return the payload of the last SUBSCRIPTION_PAST_DUE."""
    harness.session.flush()
    past_due = (OutboxEvent.aggregateid == str(subscription.id)) & (OutboxEvent.type == "SUBSCRIPTION_PAST_DUE")
    [*_, payload] = harness.session.scalars(
        select(OutboxEvent.payload).where(past_due).order_by(OutboxEvent.aggregate_version)
    )
    return payload


def orders(harness: PaymentsHarness) -> list[Order]:
    """Return the buyer's orders with their attempts."""
    return Orders(harness.session).list_for_user_for_update(harness.buyer)


def charge_statuses(harness: PaymentsHarness) -> list[str]:
    """Return the statuses of all payments of the buyer at the provider."""
    at_both = [*harness.fake_stripe.get("/__state")["payments"], *harness.fake_yookassa.get("/__state")["payments"]]
    theirs = {str(order.id) for order in orders(harness)}
    return [payment["status"] for payment in at_both if payment["order_id"] in theirs]


def decline(harness: PaymentsHarness, reason: str | None = "insufficient_funds") -> None:
    """Make the card that is saved at YooKassa decline from now on; None makes it accept again."""
    [method] = harness.session.scalars(select(SavedMethod).where(SavedMethod.user_id == harness.buyer))
    harness.fake_yookassa.post(f"/__methods/{method.method_id}", declines=reason)


def charge_attempt_count(harness: PaymentsHarness) -> int:
    return sum(attempt.method_id is not None for order in orders(harness) for attempt in order.attempts)


def live_attempt(harness: PaymentsHarness) -> PaymentAttempt:
    [attempt] = (
        each
        for order in Orders(harness.session).list_for_user_for_update(harness.buyer)
        for each in order.attempts
        if each.is_live
    )
    return attempt


def lose_charge_response(harness: PaymentsHarness) -> None:
    """Run the job while Stripe's response to the charge is lost."""
    harness.fake_stripe.faults(drop_response_after_commit=3)  # its SDK retries a call twice
    with pytest.raises(ProviderOutcomeUnknown):
        run(harness)
