"""Subscriptions: start, renew, cancel and end them.

A subscription starts with a saved payment method or a checkout session, and a job renews it. Each period is paid by an
order of its own; ``sync.apply_snapshot`` applies the outcome of the payment to the subscription.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from models import clock
from models.base import now
from models.errors import (
    AlreadySubscribed,
    CheckoutOutcomeUnknown,
    PaymentInProgress,
    PaymentMethodMissing,
    PaymentRefused,
    ProviderOutcomeUnknown,
)
from models.events import Event
from models.log import get_logger
from models.outbox import record
from models.payments import Attempt, Order, Plan, SavedMethod, Subscription, Terms
from models.payments.ownership import refuse_erased, refuse_owned
from workers import job, task
from workers._delivery import Sessions
from workers.resources import Poke

from .provider import Providers, refuse_unpayable
from .sync import apply_snapshot, ask_provider, close_page

log = get_logger(__name__)

# No buyer waits for a charge, so it may take as long as the provider keeps its idempotency key.
CHARGE_OPEN_FOR = timedelta(hours=23)
STEPS_A_RUN = 100
# Enough for the longest case: close an open checkout session, then charge the saved payment method.
CALLS_A_STEP = 2

Charge = tuple[Attempt, Order]


@dataclass(frozen=True)
class Buyer:
    """The user who pays, and the provider."""

    user_id: UUID
    provider: str
    receipt_email: str | None

    @classmethod
    def of(cls, subscription: Subscription) -> Self:
        """Return the subscriber with the provider and receipt address of the last payment."""
        return cls(subscription.user_id, subscription.provider, subscription.receipt_email)


@task
def start_subscription(
    sessions: Sessions, providers: Providers, *, user_id: UUID, plan_id: UUID, provider: str, receipt_email: str | None
) -> dict[str, Any]:
    """Subscribe to a plan with the payment method saved at this provider; start with the trial if the buyer has one.

    Raises AccountErased, NotFound, AlreadyPurchased, AlreadySubscribed, PaymentMethodMissing, CurrencyNotSupported,
    ReceiptEmailMissing, PaymentInProgress, PaymentRefused, ProviderUnavailable, CheckoutOutcomeUnknown.
    """
    shop, buyer = providers[provider], Buyer(user_id, provider, receipt_email)
    with sessions.begin() as session:
        plan = Plan.offered(session, plan_id)
        refuse_unpayable(shop, plan.amount_minor, plan.currency, receipt_email)
        subscription, is_on_trial = open_subscription(session, buyer, plan)
        if is_on_trial:
            return sessions.answer(session, subscription.view())
        if subscription.status == "trialing":
            raise AlreadySubscribed(str(plan_id))
        terms = _charge_terms(session, subscription, providers, buyer)
        if terms is None:
            raise PaymentMethodMissing(shop.name)
        attempt, order = _begin_charge(session, subscription, terms)
        if attempt.terms != terms:  # a checkout session, or a charge of another card or at another provider
            raise PaymentInProgress("order", str(order.id))
    try:
        snapshot = ask_provider(sessions, providers, attempt, order)
    except ProviderOutcomeUnknown as error:
        raise CheckoutOutcomeUnknown(str(order.id)) from error
    with sessions.begin() as session:
        attempt = apply_snapshot(session, attempt, snapshot).attempt(attempt.id)
        subscription = Subscription.of(session, subscription.id, user_id=user_id)
        if attempt.status == "succeeded":
            return sessions.answer(session, subscription.view())
    if attempt.status == "failed":
        raise PaymentRefused(attempt.problem)
    raise PaymentInProgress("order", str(order.id))


def open_subscription(session: Session, buyer: Buyer, plan: Plan) -> tuple[Subscription, bool]:
    """Get or create the buyer's subscription to a plan; return it and whether this call has started its trial.

    Raises AccountErased, AlreadySubscribed, and AlreadyPurchased if the buyer owns all courses of the plan.
    """
    refuse_erased(session, buyer.user_id)
    refuse_owned(session, buyer.user_id, "plan", plan.id, {UUID(course_id) for course_id in plan.course_ids})
    at = clock.now()
    subscription = Subscription.open(
        session,
        user_id=buyer.user_id,
        plan=plan,
        provider=buyer.provider,
        receipt_email=buyer.receipt_email,
        at=at,
    )
    if not subscription.may_try(session, plan):
        return subscription, False
    _tell(session, subscription, subscription.begin_trial(plan, at=at))
    return subscription, True


@task
def show_subscription(session: Session, *, subscription_id: UUID, user_id: UUID) -> dict[str, Any]:
    """Return a subscription of a user. Raises NotFound, also for subscriptions of other users."""
    return Subscription.of(session, subscription_id, user_id=user_id).view()


@task
def list_subscriptions(session: Session, *, user_id: UUID, limit: int, after: UUID | None) -> dict[str, Any]:
    """Return a page of a user's subscriptions, newest first: {"items", "next"}."""
    found = Subscription.page(session, user_id=user_id, limit=limit + 1, after=after)
    shown = found[:limit]
    return {"items": [each.view() for each in shown], "next": shown[-1].id if len(found) > limit else None}


@task
def cancel_subscription(session: Session, *, subscription_id: UUID, user_id: UUID) -> dict[str, Any]:
    """Cancel at the end of the current period; access lasts until then. Raises NotFound, SubscriptionEnded."""
    Subscription.of(session, subscription_id, user_id=user_id)
    subscription, _order = Subscription.locked(session, subscription_id)
    _tell(session, subscription, subscription.cancel(at=clock.now()))
    return subscription.view()


@job(every_seconds=60)
def advance_subscriptions(session: Session, poke: Poke) -> None:
    """Enqueue ``advance_subscription`` for each subscription whose next step is due."""
    for subscription_id in Subscription.due(session, at=clock.now(), limit=STEPS_A_RUN):
        poke("payments.advance_subscription", subscription_id=subscription_id)


@task
def advance_subscription(sessions: Sessions, providers: Providers, *, subscription_id: UUID) -> None:
    """Take the due step: announce the end of the trial, charge for the next period, or end the subscription.

    A step that fails is postponed, so that failing steps do not hold up the other ones that are due. Raises
    ProviderUnavailable, ProviderOutcomeUnknown.
    """
    try:
        _advance(sessions, providers, subscription_id)
    except OperationalError:
        raise  # the database is unavailable, or the worker repeats a transaction after a deadlock
    except Exception:
        _postpone_failed(sessions, subscription_id)
        raise


def _advance(sessions: Sessions, providers: Providers, subscription_id: UUID) -> None:
    for _ in range(CALLS_A_STEP):
        with sessions.begin() as session:
            to_do = _take_step(session, providers, subscription_id)
        if to_do is None:
            return
        attempt, order = to_do
        is_closing = attempt.superseded
        try:
            snapshot = (
                close_page(sessions, providers, attempt)
                if is_closing
                else ask_provider(sessions, providers, attempt, order)
            )
        except PaymentRefused:
            return  # already recorded at the attempt and the subscription
        with sessions.begin() as session:
            apply_snapshot(session, attempt, snapshot)
        if not is_closing:
            return


def _postpone_failed(sessions: Sessions, subscription_id: UUID) -> None:
    at = clock.now()
    with sessions.begin() as session:
        subscription, _order = Subscription.locked(session, subscription_id)
        if subscription.step_due(at=at):
            subscription.look_again(at=at)


def _take_step(session: Session, providers: Providers, subscription_id: UUID) -> Charge | None:
    """Take the due step; return the charge to make or the superseded attempt to close at the provider, or None."""
    at = clock.now()
    subscription, order = Subscription.locked(session, subscription_id)
    under_way = order.live_attempt if order else None
    step = subscription.step_due(at=at)
    if step is None:
        return None
    if step == "tell":
        _tell(session, subscription, subscription.tell_trial_ending(at=at))
    elif under_way and subscription.waits_for(under_way, at=at):
        subscription.look_again(at=at)  # the job ``sync_attempts`` fetches the outcome
    elif step == "charge":
        return _charge(session, providers, subscription, order, at=at)
    else:
        return _end(session, subscription, order, at=at)
    return None


def _charge(
    session: Session, providers: Providers, subscription: Subscription, order: Order | None, *, at: datetime
) -> Charge | None:
    """Charge the saved payment method; if that is impossible, end a trial, or record a failed charge (past due).

    While the provider is not configured, the charge is postponed as long as access waits for a payment.
    """
    under_way = order.live_attempt if order else None
    if under_way and subscription.gives_up(under_way, at=at):
        problem = "outcome_unknown"
    elif subscription.provider not in providers and subscription.can_wait(at=at):
        log.error("no such provider is configured", provider=subscription.provider, subscription_id=subscription.id)
        subscription.look_again(at=at)
        return None
    elif terms := _charge_terms(session, subscription, providers, Buyer.of(subscription), is_scheduled=True):
        if order and under_way:
            return _supersede(under_way, order)
        subscription.look_again(at=at)
        return _begin_charge(session, subscription, terms)
    else:
        problem = "no_payment_method"
    if subscription.status == "trialing":
        return _end(session, subscription, order, at=at)
    _tell(session, subscription, subscription.charge_failed(problem, at=at))
    return None


def _end(session: Session, subscription: Subscription, order: Order | None, *, at: datetime) -> Charge | None:
    """End a subscription. A later payment of its pending order is refunded or voided."""
    reason = "trial_ended" if subscription.status == "trialing" and not subscription.cancel_at_period_end else None
    _tell(session, subscription, subscription.end(at=at, reason=reason))
    if order is None:
        return None
    if under_way := order.live_attempt:
        return _supersede(under_way, order)
    order.expire(at=now())
    return None


def _supersede(attempt: Attempt, order: Order) -> Charge | None:
    """Mark an attempt as superseded; return it if its open checkout session has to be closed."""
    attempt.superseded = True
    return (attempt, order) if attempt.waits_for_buyer else None


def _tell(session: Session, subscription: Subscription, events: list[Event]) -> None:
    for event in events:
        record(session, subscription, event)


def _charge_terms(
    session: Session, subscription: Subscription, providers: Providers, buyer: Buyer, *, is_scheduled: bool = False
) -> Terms | None:
    """Return the terms for charging the saved payment method for the next period; None if there is none to charge."""
    shop = providers.get(buyer.provider)
    if shop is None:
        return None
    method = SavedMethod.of(session, user_id=subscription.user_id, provider=buyer.provider, account=shop.account)
    if method is None:
        return None
    return Terms(
        provider=buyer.provider,
        account=shop.account,
        live_mode=shop.live_mode,
        amount_minor=subscription.amount_minor,
        currency=subscription.currency,
        success_url="",
        cancel_url=None,
        receipt_email=buyer.receipt_email if shop.wants_receipt_email else None,
        method_id=method.method_id,
        customer_id=method.customer_id,
        is_scheduled=is_scheduled,
    )


def _begin_charge(session: Session, subscription: Subscription, terms: Terms) -> Charge:
    """Create the attempt to charge for the next period, or return the live one; raises PaymentInProgress."""
    order = order_period(session, subscription)
    return order.live_attempt or order.begin(subscription, terms, open_for=CHARGE_OPEN_FOR, at=now()), order


def order_period(session: Session, subscription: Subscription) -> Order:
    """Get or create the order for the next period. Raises PaymentInProgress if it is being paid concurrently."""
    order = Order.for_period(
        session,
        user_id=subscription.user_id,
        subscription_id=subscription.id,
        period=subscription.next_period(),
        at=now(),
    )
    if order is None:
        raise PaymentInProgress("plan", str(subscription.plan_id))
    return order
