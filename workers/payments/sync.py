"""Asking the provider what became of an attempt, and applying what it says: the one way by which money is believed.

The webhook, the return page and the job all come here, at the same time if it so happens.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models import clock
from models.base import now
from models.errors import PaymentRefused, ProviderOutcomeUnknown
from models.events import Event
from models.faults import reach
from models.log import get_logger
from models.outbox import record
from models.payments import Attempt, Order, ProviderErasure, Refund, SavedMethod, Snapshot, Subscription
from models.payments.attempts import SETTLED
from models.payments.ledger import book_capture
from models.payments.ownership import PAID_TWICE, reason_to_return
from models.personal import is_erased
from workers import job, task
from workers._delivery import Sessions
from workers.resources import Poke

from .provider import PageRequest, Provider, Providers, provider_of

log = get_logger(__name__)

# Providers forget an idempotency key after 24 h, and a repeat after that would open a second page.
KEY_TRUSTED_FOR = timedelta(hours=23)
SYNCS_A_RUN = 100
TOO_LATE = "paid for a subscription that is over"


@task
def sync_checkout(sessions: Sessions, providers: Providers, *, checkout_id: UUID, user_id: UUID) -> dict[str, Any]:
    """Ask the provider on behalf of the buyer who has come back from its page; returns the order.

    A checkout that cost nothing has its order's id, and nobody to ask. Raises NotFound, for another's checkout too.
    """
    with sessions.begin() as session:
        attempt = session.get(Attempt, checkout_id)
        order = Order.of(session, attempt.order_id if attempt else checkout_id, user_id=user_id)
        if attempt is None or not attempt.is_open_question:
            return sessions.answer(session, order.view())
    snapshot = ask_provider(sessions, providers, attempt, order)
    with sessions.begin() as session:
        return sessions.answer(session, apply_snapshot(session, attempt, snapshot).view())


@task
def sync_attempt(sessions: Sessions, providers: Providers, *, attempt_id: UUID) -> None:
    """Ask the provider about one attempt."""
    with sessions.begin() as session:
        attempt = session.get_one(Attempt, attempt_id)
        order = session.get_one(Order, attempt.order_id)
        if not attempt.is_open_question:
            return
        is_to_be_closed = attempt.is_live and is_erased(session, "payments", order.user_id)
    ask = _close_for_good if is_to_be_closed else ask_provider
    snapshot = ask(sessions, providers, attempt, order)
    with sessions.begin() as session:
        apply_snapshot(session, attempt, snapshot)


@job(every_seconds=60)
def sync_attempts(session: Session, poke: Poke) -> None:
    """Have the provider asked about each attempt whose time has come."""
    for attempt in Attempt.due(session, at=now(), limit=SYNCS_A_RUN):
        # Should the hint be lost, or the provider not answer, it comes up again.
        attempt.postpone_sync(at=now())
        poke("payments.sync_attempt", attempt_id=attempt.id)


def ask_provider(sessions: Sessions, providers: Providers, attempt: Attempt, order: Order) -> Snapshot:
    """Fetch the state of the attempt from its provider, and capture or release money that is held for it.

    Raises what ``look_at_page`` raises.
    """
    return settle_hold(sessions, providers, attempt, look_at_page(sessions, providers, attempt, order))


def settle_hold(sessions: Sessions, providers: Providers, attempt: Attempt, snapshot: Snapshot) -> Snapshot:
    """Capture an authorized payment, or release it where the order is paid or given up; returns the page's new state.

    The decision is committed under the order's lock before the provider is called, so that of two pages one is taken.
    """
    if snapshot.status != "authorized":
        return snapshot
    with sessions.begin() as session:
        order = apply_snapshot(session, attempt, snapshot)
        wanted = order.wants(order.attempt(attempt.id))
        if wanted and reason_to_return(session, order):
            wanted = False
    reach("before a hold is settled")
    if wanted is None:
        return snapshot
    log.info("hold settled", attempt_id=attempt.id, taken=wanted)
    provider = provider_of(providers, attempt)
    return provider.take(snapshot) if wanted else provider.release(snapshot)


def look_at_page(sessions: Sessions, providers: Providers, attempt: Attempt, order: Order) -> Snapshot:
    """Fetch the attempt's page from its provider, and open it first where it is not open yet.

    No transaction may be open. The outcome of a failed call is recorded before its error is raised: PaymentRefused,
    ProviderOutcomeUnknown, ProviderUnavailable.
    """
    provider = provider_of(providers, attempt)
    try:
        return _fetched(provider, attempt) if attempt.page_id else _opened(provider, attempt, order, at=now())
    except PaymentRefused as refusal:
        with sessions.begin() as session:
            order = Order.locked(session, attempt.order_id)
            refused = order.attempt(attempt.id)
            # Another caller may have recorded the same refusal, and its subscription counts it once.
            if refused.fail_to_open(str(refusal.args[0])):
                _tell_subscription(session, refused)
            order.let_coupon_go()
            forget_erased(session, order, refused)
        raise
    except ProviderOutcomeUnknown:
        with sessions.begin() as session:
            locked(session, attempt).lose_sight()
        raise


def close_page(sessions: Sessions, providers: Providers, attempt: Attempt) -> Snapshot:
    """Close the page of a superseded attempt, unless it was paid before; returns its state.

    Raises ProviderOutcomeUnknown, ProviderUnavailable.
    """
    assert attempt.page_id is not None
    snapshot = provider_of(providers, attempt).expire_page(attempt.page_id)
    if snapshot.status == "authorized":
        # The buyer was faster: no other page can have been opened while this one was live.
        with sessions.begin() as session:
            locked(session, attempt).superseded = False
    return settle_hold(sessions, providers, attempt, snapshot)


def _close_for_good(sessions: Sessions, providers: Providers, attempt: Attempt, order: Order) -> Snapshot:
    """Close a payment of an erased buyer. One that was not begun at the provider is not begun any more."""
    if attempt.page_id:
        return close_page(sessions, providers, attempt)
    found = provider_of(providers, attempt).find(PageRequest.of(attempt, order))
    return settle_hold(sessions, providers, attempt, found or attempt.never_opened())


def apply_snapshot(session: Session, attempt: Attempt, snapshot: Snapshot) -> Order:
    """Apply the state that the provider has of ``attempt``, under the lock of its order; returns the order.

    Applying the same state again changes nothing. A state that contradicts the tables is held for review: the next
    webhook would meet the same contradiction.
    """
    order = Order.locked(session, attempt.order_id)
    try:
        with session.begin_nested():
            _apply(session, order, order.attempt(attempt.id), snapshot)
            session.flush()
    except IntegrityError as error:
        order = Order.locked(session, attempt.order_id)
        _hold_for_review(order, order.attempt(attempt.id), error)
    return order


def _apply(session: Session, order: Order, attempt: Attempt, snapshot: Snapshot) -> None:
    before, captured_before = attempt.status, attempt.captured_minor
    receipt_before = attempt.receipt_status
    unwanted = None
    if snapshot.status == "succeeded" and attempt.status not in SETTLED and not order.paid_at:
        order.replace_pending(session, at=now())
        unwanted = reason_to_return(session, order)
    events = order.apply(attempt, snapshot, wanted=unwanted is None, at=now())
    if attempt.captured_minor > captured_before:
        book_capture(session, attempt, at=now())
        if attempt.saves_method and snapshot.method_id:
            _save_method(session, order, attempt, snapshot)
    follow_up(session, order, attempt, events, was=before, unwanted=unwanted)
    if attempt.receipt_status == "canceled" != receipt_before:
        log.error("receipt canceled", attempt_id=attempt.id, order_id=order.id)  # the law wants it made good by hand


def _hold_for_review(order: Order, attempt: Attempt, error: IntegrityError) -> None:
    rule = getattr(getattr(error.orig, "diag", None), "constraint_name", None)
    log.error("provider's state contradicts the tables", attempt_id=attempt.id, rule=rule, reason=str(error.orig))
    if attempt.status != "review":
        attempt.hold_for_review([rule or "the tables"])
        order.note("payment_review", at=now(), attempt=attempt, detail=attempt.problem)


def follow_up(
    session: Session, order: Order, attempt: Attempt, events: list[Event], *, was: str, unwanted: str | None
) -> None:
    """Publish what an attempt's change has caused, and pass it on: to its subscription, and back to the buyer.

    ``unwanted`` is why money that is not the order's has to go back, where that is known.
    """
    for event in events:
        record(session, order, event)
    if attempt.status == was:
        return
    forget_erased(session, order, attempt)
    _tell_subscription(session, attempt)
    if attempt.status == "duplicate":
        _return_owed(session, attempt, unwanted or PAID_TWICE)
    tell = log.error if attempt.needs_a_person else log.info
    tell("attempt changed", attempt_id=attempt.id, was=was, status=attempt.status, problem=attempt.problem)


def forget_erased(session: Session, order: Order, attempt: Attempt) -> None:
    """Clear the addresses of an erased buyer, now that the provider need not be asked with them any more."""
    if not attempt.is_live and is_erased(session, "payments", order.user_id):
        attempt.forget_buyer()


def _save_method(session: Session, order: Order, attempt: Attempt, snapshot: Snapshot) -> None:
    """Save what a page was paid with, or have the provider delete it where the buyer is erased."""
    if is_erased(session, "payments", order.user_id):
        if snapshot.customer_id:
            customer = (attempt.provider, attempt.account, snapshot.customer_id)
            ProviderErasure.request(session, [customer], at=now())
        return
    attempt.customer_id = snapshot.customer_id  # an earlier customer of the buyer is found by it
    SavedMethod.keep(session, user_id=order.user_id, attempt=attempt, snapshot=snapshot, at=now())


def _tell_subscription(session: Session, attempt: Attempt) -> None:
    """Apply the new status of ``attempt`` to the subscription whose period its order is for, if any."""
    order = session.get_one(Order, attempt.order_id)  # locked by the caller
    if order.subscription_id is None:
        return
    subscription = session.get_one(Subscription, order.subscription_id, with_for_update=True, populate_existing=True)
    if subscription.ended_at and attempt.status == "succeeded":
        _return_owed(session, attempt, TOO_LATE)
    elif subscription.ended_at:
        order.expire(at=now())
    for event in subscription.follow(order, attempt, at=clock.now()):
        record(session, subscription, event)


def _return_owed(session: Session, attempt: Attempt, reason: str) -> None:
    if refund := Refund.return_owed(attempt, command_id=attempt.id, reason=reason, at=now()):
        session.add(refund)


def _fetched(provider: Provider, attempt: Attempt) -> Snapshot:
    assert attempt.page_id is not None
    snapshot = provider.fetch(attempt.page_id)
    if snapshot is None:
        # It told us of this page once: a wrong account, or a provider that lost it. Neither is the buyer's failure.
        log.error("page is not known to its provider", attempt_id=attempt.id, provider=attempt.provider)
        raise ProviderOutcomeUnknown(attempt.provider)
    return snapshot


def _opened(provider: Provider, attempt: Attempt, order: Order, *, at: datetime) -> Snapshot:
    """Open the page, or find the one that an earlier call opened whose answer was lost."""
    request = PageRequest.of(attempt, order)
    if at < attempt.created_at + KEY_TRUSTED_FOR:
        try:
            return provider.open_page(request)
        except ProviderOutcomeUnknown:
            # Stripe keeps a 5xx under the key as well: a repeat may never hear more than the first call did.
            if attempt.status == "unknown" and (found := provider.find(request)):
                return found
            raise
    # An older key would open a second page. One that is in no list was never opened, and nobody can pay there.
    return provider.find(request) or attempt.never_opened()


def locked(session: Session, attempt: Attempt) -> Attempt:
    """The attempt, under the lock of its order."""
    return Order.locked(session, attempt.order_id).attempt(attempt.id)
