"""Subscriptions: start, renew, cancel and end them.

A subscription starts with a saved payment method or a checkout session, and a job renews it. Each period is paid by an
order of its own. The subscription reacts to the events of its orders (``domain_events``): a payment that changed, and
access that a refund or dispute ended or restored.
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
from core.messaging import task_queue
from models.commands import ProcessSubscription
from models.errors import AlreadySubscribed, PaymentInProgress, PaymentMethodMissing, PaymentRefused
from models.events import Event
from models.payments import Order, Orders, PaymentAttempt, PaymentTerms, Plan, SavedMethod, Subscription, Subscriptions
from models.payments.ownership import require_not_erased, require_not_owned
from workers import job, task
from workers.runtime.dependencies import EnqueueAfterCommit
from workers.runtime.execution import Transactions

from .domain_events import OrderAccessChanged, PaymentStatusChanged, handles
from .payment_flow import PaymentFlow, apply_payment_snapshot, open_or_reuse_attempt, refund_owed_money
from .provider import Providers, require_payable

log = get_logger(__name__)

# No buyer waits for a charge, so it may take as long as the provider keeps its idempotency key.
CHARGE_TTL = timedelta(hours=23)
BATCH_SIZE = 50  # messages in the queue of the service above which no more are added: buyers wait behind them
# Enough for the longest case: close an open checkout session, then charge the saved payment method.
MAX_CALLS_PER_STEP = 2
REASON_SUBSCRIPTION_ENDED = "subscription already ended"  # refund reason, visible to the buyer

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
    snapshot = PaymentFlow(transactions, providers).call_for_buyer(attempt, order)
    with transactions.begin() as session:
        attempt = apply_payment_snapshot(session, attempt, snapshot).attempt(attempt.id)
        subscription = Subscriptions(session).get(subscription.id, user_id=user_id)
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
    subscription = Subscriptions(session).get_or_create_open(
        user_id=buyer.user_id,
        plan=plan,
        provider=buyer.provider,
        receipt_email=buyer.receipt_email,
        at=at,
    )
    if not Subscriptions(session).is_trial_eligible(subscription, plan):
        return subscription, False
    _record(session, subscription, subscription.start_trial(plan, at=at))
    return subscription, True


@task
def show_subscription(session: Session, *, subscription_id: UUID, user_id: UUID) -> dict[str, Any]:
    """Return a subscription of a user. Raises NotFound, also for subscriptions of other users."""
    return Subscriptions(session).get(subscription_id, user_id=user_id).to_response()


@task
def list_subscriptions(
    session: Session, *, user_id: UUID, limit: int, after: UUID | None, status: str | None = None
) -> dict[str, Any]:
    """Return a page of a user's subscriptions, newest first: {"items", "next"}."""
    found = Subscriptions(session).list_page(user_id=user_id, limit=limit + 1, after=after, status=status)
    shown = found[:limit]
    return {"items": [each.to_response() for each in shown], "next": shown[-1].id if len(found) > limit else None}


@task
def cancel_subscription(session: Session, *, subscription_id: UUID, user_id: UUID) -> dict[str, Any]:
    """Cancel at the end of the current period; access lasts until then. Raises NotFound, SubscriptionEnded."""
    Subscriptions(session).get(subscription_id, user_id=user_id)
    subscription, _order = Subscriptions(session).get_for_update(subscription_id)
    _record(session, subscription, subscription.cancel(at=clock.business_now()))
    return subscription.to_response()


@job
def process_due_subscriptions(session: Session, enqueue_after_commit: EnqueueAfterCommit) -> None:
    """Enqueue ``process_subscription`` for subscriptions whose next step is due, as many as the queue has places for.

    The job runs often, so that the pace is that of the workers and not that of the job.
    """
    limit = max(BATCH_SIZE - task_queue.count_waiting("payments"), 0)
    for subscription_id in Subscriptions(session).due(at=clock.business_now(), limit=limit):
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
    flow = PaymentFlow(transactions, providers)
    for _ in range(MAX_CALLS_PER_STEP):
        with transactions.begin() as session:
            pending = _run_due_step(session, providers, subscription_id)
        if pending is None:
            return
        attempt, order = pending
        is_closing = attempt.superseded
        try:
            snapshot = flow.close(attempt, order) if is_closing else flow.refresh(attempt, order)
        except PaymentRefused:
            return  # already recorded at the attempt and the subscription
        with transactions.begin() as session:
            apply_payment_snapshot(session, attempt, snapshot)
        if not is_closing:
            return


def _postpone_failed(transactions: Transactions, subscription_id: UUID) -> None:
    at = clock.business_now()
    with transactions.begin() as session:
        subscription, _order = Subscriptions(session).get_for_update(subscription_id)
        if subscription.due_step(at=at):
            subscription.postpone_step(at=at)


def _run_due_step(session: Session, providers: Providers, subscription_id: UUID) -> PendingCharge | None:
    """Take the due step; return the charge to make or the superseded attempt to close at the provider, or None."""
    at = clock.business_now()
    subscription, order = Subscriptions(session).get_for_update(subscription_id)
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


@handles(PaymentStatusChanged)
def apply_payment_to_subscription(session: Session, event: PaymentStatusChanged) -> None:
    """Apply the new status of a payment to the subscription whose period its order pays for, if there is one.

    A payment that succeeds after the end of the subscription is returned.
    """
    order, attempt = event.order, event.attempt
    if order.subscription_id is None:
        return
    subscription = session.get_one(Subscription, order.subscription_id, with_for_update=True, populate_existing=True)
    if subscription.ended_at and attempt.status == "succeeded":
        refund_owed_money(session, attempt, REASON_SUBSCRIPTION_ENDED)
    elif subscription.ended_at:
        order.expire(at=utc_now())
    _record(session, subscription, subscription.apply_payment_outcome(order, attempt, at=clock.business_now()))


@handles(OrderAccessChanged)
def end_or_restore_subscription(session: Session, event: OrderAccessChanged) -> None:
    """End or restore the subscription whose current period the order paid for, if any.

    A refund of an earlier period does not end what was paid for since.
    """
    order = event.order
    if order.subscription_id is None:
        return
    # The later subscription is locked here too: its order must not be locked after a subscription.
    later_id = Subscriptions(session).replacement_of(order.subscription_id) if order.grants_access else None
    ids = [order.subscription_id, later_id] if later_id else [order.subscription_id]
    locked = {each.id: (each, pending) for each, pending in Subscriptions(session).list_for_update(ids)}
    subscription, waiting = locked[order.subscription_id]
    if subscription.paid_order_id != order.id:
        return
    if order.grants_access:
        may_regain = subscription.can_be_restored(at=clock.business_now())
        if may_regain and later_id and not _end_unpaid_replacement(session, *locked[later_id]):
            log.error("subscription is not restored because a newer one exists", subscription_id=subscription.id)
            return
        events = subscription.restore(at=clock.business_now())
    else:
        events = subscription.end_for_reversal(reason=event.reason, at=clock.business_now())
        if waiting and events:
            waiting.expire(at=utc_now())  # a payment that still arrives is returned automatically
    _record(session, subscription, events)


def _end_unpaid_replacement(session: Session, later: Subscription, waiting: Order | None) -> bool:
    """End a later, never paid subscription to the same plan; return False if the later one has started."""
    if later.ended_at:
        return True
    if later.status != "incomplete":
        return False
    later.end(at=clock.business_now())
    if waiting and waiting.live_attempt:
        waiting.live_attempt.superseded = True  # a payment that still arrives is voided or returned
    elif waiting:
        waiting.expire(at=utc_now())
    session.flush()
    return True


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
    return open_or_reuse_attempt(order, subscription, terms, ttl=CHARGE_TTL), order


def get_or_create_period_order(session: Session, subscription: Subscription) -> Order:
    """Get or create the order for the next period. Raises PaymentInProgress if it is being paid concurrently."""
    order = Orders(session).get_or_create_for_period(
        user_id=subscription.user_id,
        subscription_id=subscription.id,
        period=subscription.next_period(),
        at=utc_now(),
    )
    if order is None:
        raise PaymentInProgress("plan", str(subscription.plan_id))
    return order
