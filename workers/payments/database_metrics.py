"""Prometheus metrics derived from the payments tables."""

from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

import settings
from core.db import utc_now
from models.payments import (
    Dispute,
    Order,
    PaymentAttempt,
    ProviderErasure,
    ProviderEvent,
    ReconciledDay,
    Reconciliation,
    Refund,
    Subscription,
)
from models.payments.ledger import imbalances
from workers import database_metric
from workers.runtime.metrics import Rows


@database_metric("coursebus_orders", "Orders by status.", "status")
def orders(session: Session) -> Rows:
    return session.execute(select(Order.status, func.count()).group_by(Order.status))


@database_metric("coursebus_orders_paid_total", "Paid and free orders.")
def orders_paid(session: Session) -> Rows:
    return session.execute(select(func.count()).where(Order.paid_at.is_not(None)))


@database_metric("coursebus_payment_attempts", "Payment attempts by provider and status.", "provider", "status")
def payment_attempts(session: Session) -> Rows:
    return session.execute(
        select(PaymentAttempt.provider, PaymentAttempt.status, func.count()).group_by("provider", "status")
    )


def _by_provider_and_currency(session: Session, total: ColumnElement[Any]) -> Rows:
    """Sum over the attempts by provider and by the currency of the captured money."""
    group = (PaymentAttempt.provider, PaymentAttempt.money_currency)
    return session.execute(select(*group, total).group_by(*group))


@database_metric("coursebus_captured_minor_total", "Captured money, in minor units.", "provider", "currency")
def captured(session: Session) -> Rows:
    taken = func.sum(PaymentAttempt.captured_minor)
    return _by_provider_and_currency(session, taken)


@database_metric("coursebus_refunded_minor_total", "Refunded money, in minor units.", "provider", "currency")
def refunded(session: Session) -> Rows:
    given_back = func.sum(PaymentAttempt.refunded_minor)
    return _by_provider_and_currency(session, given_back)


@database_metric("coursebus_refunds", "Refunds by status.", "status")
def refunds(session: Session) -> Rows:
    return session.execute(select(Refund.status, func.count()).group_by(Refund.status))


@database_metric(
    "coursebus_owed_to_buyers_minor",
    "Duplicate and late payments that are not refunded yet, in minor units.",
    "currency",
)
def owed_to_buyers(session: Session) -> Rows:
    owed = func.sum(Refund.amount_minor)
    return session.execute(select(Refund.currency, owed).where(Refund.is_owed()).group_by(Refund.currency))


@database_metric(
    "coursebus_owed_to_buyers_seconds", "Age of the oldest duplicate or late payment that is not refunded yet."
)
def owed_to_buyers_seconds(session: Session) -> Rows:
    oldest = func.extract("epoch", func.now() - func.min(Refund.owed_since))
    return session.execute(select(func.coalesce(oldest, 0)).where(Refund.is_owed()))


@database_metric(
    "coursebus_provider_erasures_seconds", "Age of the oldest pending deletion of a customer at a provider."
)
def provider_erasures_seconds(session: Session) -> Rows:
    oldest = func.extract("epoch", func.now() - func.min(ProviderErasure.requested_at))
    return session.execute(select(func.coalesce(oldest, 0)))


@database_metric("coursebus_payments_overdrawn", "Payments whose refunds and chargebacks exceed the captured amount.")
def payments_overdrawn(session: Session) -> Rows:
    reversed_minor = PaymentAttempt.refunded_minor + PaymentAttempt.charged_back_minor
    return session.execute(select(func.count()).where(reversed_minor > PaymentAttempt.captured_minor))


@database_metric("coursebus_disputes", "Disputes by status.", "status")
def disputes(session: Session) -> Rows:
    return session.execute(select(Dispute.status, func.count()).group_by(Dispute.status))


@database_metric(
    "coursebus_charged_back_minor_total", "Money lost in disputes, in minor units.", "provider", "currency"
)
def charged_back(session: Session) -> Rows:
    taken = func.sum(PaymentAttempt.charged_back_minor)
    return _by_provider_and_currency(session, taken)


@database_metric("coursebus_subscriptions", "Subscriptions by status.", "status")
def subscriptions(session: Session) -> Rows:
    return session.execute(select(Subscription.status, func.count()).group_by(Subscription.status))


@database_metric("coursebus_subscriptions_without_provider", "Subscriptions whose provider is not configured.")
def subscriptions_without_provider(session: Session) -> Rows:
    is_charged = Subscription.ended_at.is_(None) & (Subscription.status != "incomplete")
    is_charged &= ~Subscription.cancel_at_period_end
    orphaned = Subscription.provider.not_in(settings.PAYMENT_PROVIDERS)
    return session.execute(select(func.count()).where(is_charged, orphaned))


@database_metric(
    "coursebus_receipts_canceled", "Fiscal receipts of payments and refunds that the provider could not register."
)
def receipts_canceled(session: Session) -> Rows:
    of_payments = select(func.count()).where(PaymentAttempt.receipt_status == "canceled").scalar_subquery()
    of_refunds = select(func.count()).where(Refund.receipt_status == "canceled").scalar_subquery()
    return session.execute(select(of_payments + of_refunds))


@database_metric("coursebus_webhooks_waiting", "Acknowledged webhooks that are not applied yet.")
def webhooks_waiting(session: Session) -> Rows:
    return session.execute(select(func.count()).where(ProviderEvent.status == "received"))


@database_metric(
    "coursebus_webhooks_waiting_seconds", "Age of the oldest acknowledged webhook that is not applied yet."
)
def webhooks_waiting_seconds(session: Session) -> Rows:
    oldest = func.extract("epoch", func.now() - func.min(ProviderEvent.received_at))
    return session.execute(select(func.coalesce(oldest, 0)).where(ProviderEvent.status == "received"))


@database_metric("coursebus_webhooks_failed", "Webhooks of the last week that failed permanently.")
def webhooks_failed(session: Session) -> Rows:
    recent = ProviderEvent.received_at > func.now() - timedelta(days=7)
    return session.execute(select(func.count()).where(ProviderEvent.status == "failed", recent))


@database_metric(
    "coursebus_ledger_off_balance", "Differences within the ledger, or between the ledger and the payment attempts."
)
def ledger_off_balance(session: Session) -> Rows:
    return [(sum(1 for _ in imbalances(session)),)]


@database_metric("coursebus_reconciliation_days_missing", "Days of the last 30 that were not compared with a provider.")
def reconciliation_days_missing(session: Session) -> Rows:
    accounts = {"stripe": settings.STRIPE_ACCOUNT, "yookassa": settings.YOOKASSA_SHOP_ID}
    configured = [(name, accounts[name]) for name in settings.PAYMENT_PROVIDERS]
    return [(ReconciledDay.count_missing(session, configured, at=utc_now()),)]


@database_metric(
    "coursebus_reconciliation_off", "Comparisons of the last week that show differences between provider and ledger."
)
def reconciliation_off(session: Session) -> Rows:
    return [(Reconciliation.count_mismatched(session),)]
