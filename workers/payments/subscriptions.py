"""Subscriptions: start, renew, cancel and end them.

A subscription starts with a saved payment method or a checkout session, and a job renews it. Each period is paid by an
order of its own; ``payment_sync.apply_payment_snapshot`` applies the outcome of the payment to the subscription.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from core import clock
from core.bus.outbox import record
from core.db import utc_now
from core.log import get_logger
from models.commands import ProcessSubscription
from models.errors import (
    AlreadySubscribed,
    CheckoutOutcomeUnknown,
    PaymentInProgress,
    PaymentMethodMissing,
    PaymentRefused,
    ProviderOutcomeUnknown,
)
from models.events import Event
from models.payments import Order, PaymentAttempt, PaymentTerms, Plan, SavedMethod, Subscription
from models.payments.ownership import require_not_erased, require_not_owned
from workers import job, task
from workers.runtime.dependencies import EnqueueAfterCommit
from workers.runtime.execution import Transactions

from .payment_sync import apply_payment_snapshot, close_checkout_session, refresh_payment
from .provider import Providers, require_payable

log = get_logger(__name__)

# No buyer waits for a charge, so it may take as long as the provider keeps its idempotency key.
CHARGE_TTL = timedelta(hours=23)
BATCH_SIZE = 100
# Enough for the longest case: close an open checkout session, then charge the saved payment method.
MAX_CALLS_PER_STEP = 2

PendingCharge = tuple[PaymentAttempt, Order]


@dataclass(frozen=True)
class Buyer:
    """The user who pays, and the provider."""

    user_id: UUID
    provider: str
    receipt_email: str | None

    @classmethod
    def from_subscription(cls, subscription: Subscription) -> Self:
        """Return the subscriber with the provider and receipt address of the last payment."""
        return cls(subscription.user_id, subscription.provider, subscription.receipt_email)


@task
def start_subscription(
    transactions: Transactions,
    providers: Providers,
    *,
    user_id: UUID,
    plan_id: UUID,
    provider: str,
    receipt_email: str | None,
) -> dict[str, Any]:
    """Subscribe to a plan with the payment method saved at this provider; start with the trial if the buyer has one.

    Raises AccountErased, NotFound, AlreadyPurchased, AlreadySubscribed, PaymentMethodMissing, CurrencyNotSupported,
    ReceiptEmailMissing, PaymentInProgress, PaymentRefused, ProviderUnavailable, CheckoutOutcomeUnknown.
    """
    payment_provider, buyer = providers[provider], Buyer(user_id, provider, receipt_email)
    with transactions.begin() as session:
        plan = Plan.get_on_sale(session, plan_id)
        require_payable(payment_provider, plan.amount_minor, plan.currency, receipt_email)
        subscription, is_on_trial = open_subscription(session, buyer, plan)
        if is_on_trial:
            return transactions.complete(session, subscription.to_response())
        if subscription.status == "trialing":
            raise AlreadySubscribed(str(plan_id))
        terms = _charge_terms(session, subscription, providers, buyer)
        if terms is None:
            raise PaymentMethodMissing(payment_provider.name)
        attempt, order = _start_charge(session, subscription, terms)
        if attempt.terms != terms:  # a checkout session, or a charge of another card or at another provider
            raise PaymentInProgress("order", str(order.id))
    try:
        snapshot = refresh_payment(transactions, providers, attempt, order)
    except ProviderOutcomeUnknown as error:
        raise CheckoutOutcomeUnknown(str(order.id)) from error
    with transactions.begin() as session:
        attempt = apply_payment_snapshot(session, attempt, snapshot).attempt(attempt.id)
        subscription = Subscription.get(session, subscription.id, user_id=user_id)
        if attempt.status == "succeeded":
            return transactions.complete(session, subscription.to_response())
    if attempt.status == "failed":
        raise PaymentRefused(attempt.problem)
    raise PaymentInProgress("order", str(order.id))


def open_subscription(session: Session, buyer: Buyer, plan: Plan) -> tuple[Subscription, bool]:
    """Get or create the buyer's subscription to a plan; return it and whether this call has started its trial.

    Raises AccountErased, AlreadySubscribed, and AlreadyPurchased if the buyer owns all courses of the plan.
    """
    require_not_erased(session, buyer.user_id)
    require_not_owned(session, buyer.user_id, "plan", plan.id, {UUID(course_id) for course_id in plan.course_ids})
    at = clock.business_now()
    subscription = Subscription.get_or_create_open(
        session,
        user_id=buyer.user_id,
        plan=plan,
        provider=buyer.provider,
        receipt_email=buyer.receipt_email,
        at=at,
    )
    if not subscription.is_trial_eligible(session, plan):
        return subscription, False
    _record(session, subscription, subscription.start_trial(plan, at=at))
    return subscription, True


@task
def show_subscription(session: Session, *, subscription_id: UUID, user_id: UUID) -> dict[str, Any]:
    """Return a subscription of a user. Raises NotFound, also for subscriptions of other users."""
    return Subscription.get(session, subscription_id, user_id=user_id).to_response()


@task
def list_subscriptions(session: Session, *, user_id: UUID, limit: int, after: UUID | None) -> dict[str, Any]:
    """Return a page of a user's subscriptions, newest first: {"items", "next"}."""
    found = Subscription.list_page(session, user_id=user_id, limit=limit + 1, after=after)
    shown = found[:limit]
    return {"items": [each.to_response() for each in shown], "next": shown[-1].id if len(found) > limit else None}


@task
def cancel_subscription(session: Session, *, subscription_id: UUID, user_id: UUID) -> dict[str, Any]:
    """Cancel at the end of the current period; access lasts until then. Raises NotFound, SubscriptionEnded."""
    Subscription.get(session, subscription_id, user_id=user_id)
    subscription, _order = Subscription.get_for_update(session, subscription_id)
    _record(session, subscription, subscription.cancel(at=clock.business_now()))
    return subscription.to_response()


@job(every_seconds=60)
def process_due_subscriptions(session: Session, enqueue_after_commit: EnqueueAfterCommit) -> None:
    """Enqueue ``process_subscription`` for each subscription whose next step is due."""
    for subscription_id in Subscription.due(session, at=clock.business_now(), limit=BATCH_SIZE):
        enqueue_after_commit(ProcessSubscription(subscription_id=subscription_id))


@task
def process_subscription(transactions: Transactions, providers: Providers, *, subscription_id: UUID) -> None:
    """Take the due step: announce the end of the trial, charge for the next period, or end the subscription.

    A step that fails is postponed, so that failing steps do not hold up the other ones that are due. Raises
    ProviderUnavailable, ProviderOutcomeUnknown.
    """
    try:
        _advance(transactions, providers, subscription_id)
    except OperationalError:
        raise  # the database is unavailable, or the worker repeats a transaction after a deadlock
    except Exception:
        _postpone_failed(transactions, subscription_id)
        raise


def _advance(transactions: Transactions, providers: Providers, subscription_id: UUID) -> None:
    for _ in range(MAX_CALLS_PER_STEP):
        with transactions.begin() as session:
            pending = _run_due_step(session, providers, subscription_id)
        if pending is None:
            return
        attempt, order = pending
        is_closing = attempt.superseded
        try:
            snapshot = (
                close_checkout_session(transactions, providers, attempt)
                if is_closing
                else refresh_payment(transactions, providers, attempt, order)
            )
        except PaymentRefused:
            return  # already recorded at the attempt and the subscription
        with transactions.begin() as session:
            apply_payment_snapshot(session, attempt, snapshot)
        if not is_closing:
            return


def _postpone_failed(transactions: Transactions, subscription_id: UUID) -> None:
    at = clock.business_now()
    with transactions.begin() as session:
        subscription, _order = Subscription.get_for_update(session, subscription_id)
        if subscription.due_step(at=at):
            subscription.postpone_step(at=at)


def _run_due_step(session: Session, providers: Providers, subscription_id: UUID) -> PendingCharge | None:
    """Take the due step; return the charge to make or the superseded attempt to close at the provider, or None."""
    at = clock.business_now()
    subscription, order = Subscription.get_for_update(session, subscription_id)
    live_attempt = order.live_attempt if order else None
    step = subscription.due_step(at=at)
    if step is None:
        return None
    if step == "notify_trial_ending":
        _record(session, subscription, subscription.announce_trial_end(at=at))
    elif live_attempt and subscription.waits_for(live_attempt, at=at):
        subscription.postpone_step(at=at)  # the job ``sync_attempts`` fetches the outcome
    elif step == "charge":
        return _charge(session, providers, subscription, order, at=at)
    else:
        return _end(session, subscription, order, at=at)
    return None


def _charge(
    session: Session, providers: Providers, subscription: Subscription, order: Order | None, *, at: datetime
) -> PendingCharge | None:
    """Charge the saved payment method; if that is impossible, end a trial, or record a failed charge (past due).

    While the provider is not configured, the charge is postponed as long as access waits for a payment.
    """
    live_attempt = order.live_attempt if order else None
    if live_attempt and subscription.stops_waiting_for(live_attempt, at=at):
        problem = "outcome_unknown"
    elif subscription.provider not in providers and subscription.can_wait(at=at):
        log.error("no such provider is configured", provider=subscription.provider, subscription_id=subscription.id)
        subscription.postpone_step(at=at)
        return None
    elif terms := _charge_terms(
        session, subscription, providers, Buyer.from_subscription(subscription), is_scheduled=True
    ):
        if order and live_attempt:
            return _supersede(live_attempt, order)
        subscription.postpone_step(at=at)
        return _start_charge(session, subscription, terms)
    else:
        problem = "no_payment_method"
    if subscription.status == "trialing":
        return _end(session, subscription, order, at=at)
    _record(session, subscription, subscription.record_failed_charge(problem, at=at))
    return None


def _end(session: Session, subscription: Subscription, order: Order | None, *, at: datetime) -> PendingCharge | None:
    """End a subscription. A later payment of its pending order is refunded or voided."""
    reason = "trial_ended" if subscription.status == "trialing" and not subscription.cancel_at_period_end else None
    _record(session, subscription, subscription.end(at=at, reason=reason))
    if order is None:
        return None
    if live_attempt := order.live_attempt:
        return _supersede(live_attempt, order)
    order.expire(at=utc_now())
    return None


def _supersede(attempt: PaymentAttempt, order: Order) -> PendingCharge | None:
    """Mark an attempt as superseded; return it if its open checkout session has to be closed."""
    attempt.superseded = True
    return (attempt, order) if attempt.waits_for_buyer else None


def _record(session: Session, subscription: Subscription, events: list[Event]) -> None:
    for event in events:
        record(session, subscription, event)


def _charge_terms(
    session: Session, subscription: Subscription, providers: Providers, buyer: Buyer, *, is_scheduled: bool = False
) -> PaymentTerms | None:
    """Return the terms for charging the saved payment method for the next period; None if there is none to charge."""
    payment_provider = providers.get(buyer.provider)
    if payment_provider is None:
        return None
    method = SavedMethod.get(
        session, user_id=subscription.user_id, provider=buyer.provider, account=payment_provider.account
    )
    if method is None:
        return None
    return PaymentTerms(
        provider=buyer.provider,
        account=payment_provider.account,
        live_mode=payment_provider.live_mode,
        amount_minor=subscription.amount_minor,
        currency=subscription.currency,
        success_url="",
        cancel_url=None,
        receipt_email=buyer.receipt_email if payment_provider.requires_receipt_email else None,
        method_id=method.method_id,
        customer_id=method.customer_id,
        is_scheduled=is_scheduled,
    )


def _start_charge(session: Session, subscription: Subscription, terms: PaymentTerms) -> PendingCharge:
    """Create the attempt to charge for the next period, or return the live one; raises PaymentInProgress."""
    order = get_or_create_period_order(session, subscription)
    return order.live_attempt or order.start_attempt(subscription, terms, ttl=CHARGE_TTL, at=utc_now()), order


def get_or_create_period_order(session: Session, subscription: Subscription) -> Order:
    """Get or create the order for the next period. Raises PaymentInProgress if it is being paid concurrently."""
    order = Order.get_or_create_for_period(
        session,
        user_id=subscription.user_id,
        subscription_id=subscription.id,
        period=subscription.next_period(),
        at=utc_now(),
    )
    if order is None:
        raise PaymentInProgress("plan", str(subscription.plan_id))
    return order
