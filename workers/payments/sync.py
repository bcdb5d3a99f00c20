"""Fetch the state of a payment attempt from its provider and apply it. No payment is booked from any other source.

Webhooks, the return page and the periodic job all use these functions, possibly at the same time.
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

# Providers delete an idempotency key after 24 h; repeating a call later would open a second checkout session.
KEY_TRUSTED_FOR = timedelta(hours=23)
SYNCS_A_RUN = 100
TOO_LATE = "paid for a subscription that is over"


@task
def sync_checkout(sessions: Sessions, providers: Providers, *, checkout_id: UUID, user_id: UUID) -> dict[str, Any]:
    """Refresh a checkout when the buyer returns from the provider's page; return the order.

    ``checkout_id`` is the attempt's id, or the order's id if the order was free: then no provider is called. Raises
    NotFound, also for checkouts of other users, and the errors of ``look_at_page``.
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
    """Fetch the state of one attempt and apply it. An open attempt of an erased user is closed at the provider."""
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
    """Enqueue ``sync_attempt`` for each attempt whose next check is due."""
    for attempt in Attempt.due(session, at=now(), limit=SYNCS_A_RUN):
        # Reschedule first: if the hint is lost or the provider does not respond, the attempt becomes due again.
        attempt.postpone_sync(at=now())
        poke("payments.sync_attempt", attempt_id=attempt.id)


def ask_provider(sessions: Sessions, providers: Providers, attempt: Attempt, order: Order) -> Snapshot:
    """Fetch the state of the attempt from its provider; capture or void the payment if it is authorized.

    No transaction may be open. Raises the errors of ``look_at_page``.
    """
    return settle_hold(sessions, providers, attempt, look_at_page(sessions, providers, attempt, order))


def settle_hold(sessions: Sessions, providers: Providers, attempt: Attempt, snapshot: Snapshot) -> Snapshot:
    """Capture an authorized payment, or void it if the order must not be paid with it; return the provider's new state.

    The authorization is committed under the order's lock before the provider is called. Thus of two paid checkout
    sessions of an order only one is captured. A payment in review is neither captured nor voided.
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
    """Fetch the attempt's checkout session from its provider; open one if the attempt has none.

    No transaction may be open. Raises PaymentRefused and ProviderOutcomeUnknown, both after recording them at the
    attempt, and ProviderUnavailable.
    """
    provider = provider_of(providers, attempt)
    try:
        return _fetched(provider, attempt) if attempt.page_id else _opened(provider, attempt, order, at=now())
    except PaymentRefused as refusal:
        with sessions.begin() as session:
            order = Order.locked(session, attempt.order_id)
            refused = order.attempt(attempt.id)
            # A concurrent caller may have recorded the same refusal; the subscription must count it once.
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
    """Close the checkout session of a superseded attempt, unless it is already paid; return its state.

    Raises ProviderOutcomeUnknown, ProviderUnavailable.
    """
    assert attempt.page_id is not None
    snapshot = provider_of(providers, attempt).expire_page(attempt.page_id)
    if snapshot.status == "authorized":
        # The buyer paid before the session was closed. No other session can have been opened while this one was live,
        # so this payment may pay the order.
        with sessions.begin() as session:
            locked(session, attempt).superseded = False
    return settle_hold(sessions, providers, attempt, snapshot)


def _close_for_good(sessions: Sessions, providers: Providers, attempt: Attempt, order: Order) -> Snapshot:
    """Close the checkout session of an erased user. If none was opened at the provider, none is opened any more."""
    if attempt.page_id:
        return close_page(sessions, providers, attempt)
    found = provider_of(providers, attempt).find(PageRequest.of(attempt, order))
    return settle_hold(sessions, providers, attempt, found or attempt.never_opened())


def apply_snapshot(session: Session, attempt: Attempt, snapshot: Snapshot) -> Order:
    """Apply the provider's state of ``attempt`` under the lock of its order; return the order.

    Applying the same state again changes nothing. If the state violates a database constraint, the attempt is put in
    review: a retry would violate the same constraint.
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
        # The law requires a fiscal receipt: staff must issue it.
        log.error("receipt canceled", attempt_id=attempt.id, order_id=order.id)


def _hold_for_review(order: Order, attempt: Attempt, error: IntegrityError) -> None:
    rule = getattr(getattr(error.orig, "diag", None), "constraint_name", None)
    log.error("provider's state contradicts the tables", attempt_id=attempt.id, rule=rule, reason=str(error.orig))
    if attempt.status != "review":
        attempt.hold_for_review([rule or "the tables"])
        order.note("payment_review", at=now(), attempt=attempt, detail=attempt.problem)


def follow_up(
    session: Session, order: Order, attempt: Attempt, events: list[Event], *, was: str, unwanted: str | None
) -> None:
    """Publish ``events``. If the attempt's status changed, update its subscription and return a duplicate payment.

    ``was`` is the previous status. ``unwanted`` is the reason to return the payment, if known; otherwise a duplicate is
    returned with the reason PAID_TWICE.
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
    """Clear the personal data of an erased user in an ended attempt; a live one needs the data for provider calls."""
    if not attempt.is_live and is_erased(session, "payments", order.user_id):
        attempt.forget_buyer()


def _save_method(session: Session, order: Order, attempt: Attempt, snapshot: Snapshot) -> None:
    """Save the payment method for later charges; if the user is erased, request deletion at the provider."""
    if is_erased(session, "payments", order.user_id):
        if snapshot.customer_id:
            customer = (attempt.provider, attempt.account, snapshot.customer_id)
            ProviderErasure.request(session, [customer], at=now())
        return
    # Erasure finds the customer by the attempt, also after a later payment method has replaced this one.
    attempt.customer_id = snapshot.customer_id
    SavedMethod.keep(session, user_id=order.user_id, attempt=attempt, snapshot=snapshot, at=now())


def _tell_subscription(session: Session, attempt: Attempt) -> None:
    """Apply the new status of ``attempt`` to the subscription whose period its order pays for, if there is one.

    A payment that succeeds after the end of the subscription is returned.
    """
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
        # The provider returned this id earlier. A wrong account or lost data at the provider must not fail the payment.
        log.error("page is not known to its provider", attempt_id=attempt.id, provider=attempt.provider)
        raise ProviderOutcomeUnknown(provider.name)
    return snapshot


def _opened(provider: Provider, attempt: Attempt, order: Order, *, at: datetime) -> Snapshot:
    """Open a checkout session, or find the one opened by an earlier call whose response was lost."""
    request = PageRequest.of(attempt, order)
    if at < attempt.created_at + KEY_TRUSTED_FOR:
        try:
            return provider.open_page(request)
        except ProviderOutcomeUnknown:
            # Stripe replays a 5xx for the same key: repeating the call may never return the session, listing does.
            if attempt.status == "unknown" and (found := provider.find(request)):
                return found
            raise
    # The key has expired, and repeating the call would open a second session. A session in no list was never opened.
    return provider.find(request) or attempt.never_opened()


def locked(session: Session, attempt: Attempt) -> Attempt:
    """Lock the order of an attempt; return the attempt as it is now."""
    return Order.locked(session, attempt.order_id).attempt(attempt.id)
