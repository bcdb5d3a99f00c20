"""Fetch the state of a payment attempt from its provider and apply it. No payment is booked from any other source.

Webhooks, the return page and the periodic job all use these functions, possibly at the same time.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core import clock
from core.bus.outbox import record
from core.db import utc_now
from core.fault_injection import crash_point
from core.log import get_logger
from models.commands import SyncAttempt
from models.errors import PaymentRefused, ProviderOutcomeUnknown
from models.events import Event
from models.payments import Order, PaymentAttempt, PaymentSnapshot, ProviderErasure, Refund, SavedMethod, Subscription
from models.payments.ledger import book_capture
from models.payments.ownership import REASON_DUPLICATE_PAYMENT, find_refund_reason
from models.payments.payment_attempts import SETTLED
from models.personal_data import is_erased
from workers import job, task
from workers.runtime.dependencies import EnqueueAfterCommit
from workers.runtime.execution import Transactions

from .provider import PaymentRequest, Provider, Providers, provider_of

log = get_logger(__name__)

# Providers delete an idempotency key after 24 h; repeating a call later would open a second checkout session.
IDEMPOTENCY_KEY_TTL = timedelta(hours=23)
BATCH_SIZE = 100
REASON_SUBSCRIPTION_ENDED = "subscription already ended"


@task
def sync_checkout(
    transactions: Transactions, providers: Providers, *, checkout_id: UUID, user_id: UUID
) -> dict[str, Any]:
    """Refresh a checkout when the buyer returns from the provider's page; return the order.

    ``checkout_id`` is the attempt's id, or the order's id if the order was free: then no provider is called. Raises
    NotFound, also for checkouts of other users, and the errors of ``fetch_or_open_checkout_session``.
    """
    with transactions.begin() as session:
        attempt = session.get(PaymentAttempt, checkout_id)
        order = Order.get(session, attempt.order_id if attempt else checkout_id, user_id=user_id)
        if attempt is None or not attempt.may_still_change:
            return transactions.complete(session, order.to_response())
    snapshot = refresh_payment(transactions, providers, attempt, order)
    with transactions.begin() as session:
        return transactions.complete(session, apply_payment_snapshot(session, attempt, snapshot).to_response())


@task
def sync_attempt(transactions: Transactions, providers: Providers, *, attempt_id: UUID) -> None:
    """Fetch the state of one attempt and apply it. An open attempt of an erased user is closed at the provider."""
    with transactions.begin() as session:
        attempt = session.get_one(PaymentAttempt, attempt_id)
        order = session.get_one(Order, attempt.order_id)
        if not attempt.may_still_change:
            return
        is_to_be_closed = attempt.is_live and is_erased(session, "payments", order.user_id)
    refresh = _close_for_erased_user if is_to_be_closed else refresh_payment
    snapshot = refresh(transactions, providers, attempt, order)
    with transactions.begin() as session:
        apply_payment_snapshot(session, attempt, snapshot)


@job(every_seconds=60)
def sync_attempts(session: Session, enqueue_after_commit: EnqueueAfterCommit) -> None:
    """Enqueue ``sync_attempt`` for each attempt whose next check is due."""
    for attempt in PaymentAttempt.due(session, at=utc_now(), limit=BATCH_SIZE):
        # Reschedule first: if the hint is lost or the provider does not respond, the attempt becomes due again.
        attempt.postpone_sync(at=utc_now())
        enqueue_after_commit(SyncAttempt(attempt_id=attempt.id))


def refresh_payment(
    transactions: Transactions, providers: Providers, attempt: PaymentAttempt, order: Order
) -> PaymentSnapshot:
    """Fetch the state of the attempt from its provider; capture or void the payment if it is authorized.

    No transaction may be open. Raises the errors of ``fetch_or_open_checkout_session``.
    """
    return capture_or_void(
        transactions, providers, attempt, fetch_or_open_checkout_session(transactions, providers, attempt, order)
    )


def capture_or_void(
    transactions: Transactions, providers: Providers, attempt: PaymentAttempt, snapshot: PaymentSnapshot
) -> PaymentSnapshot:
    """Capture an authorized payment, or void it if the order must not be paid with it; return the provider's new state.

    The authorization is committed under the order's lock before the provider is called. Thus of two paid checkout
    sessions of an order only one is captured. A payment in review is neither captured nor voided.
    """
    if snapshot.status != "authorized":
        return snapshot
    with transactions.begin() as session:
        order = apply_payment_snapshot(session, attempt, snapshot)
        wanted = order.should_capture(order.attempt(attempt.id))
        if wanted and find_refund_reason(session, order):
            wanted = False
    crash_point("before an authorization is captured or voided")
    if wanted is None:
        return snapshot
    log.info("authorization settled", attempt_id=attempt.id, captured=wanted)
    provider = provider_of(providers, attempt)
    return provider.capture(snapshot) if wanted else provider.void(snapshot)


def fetch_or_open_checkout_session(
    transactions: Transactions, providers: Providers, attempt: PaymentAttempt, order: Order
) -> PaymentSnapshot:
    """Fetch the attempt's checkout session from its provider; open one if the attempt has none.

    No transaction may be open. Raises PaymentRefused and ProviderOutcomeUnknown, both after recording them at the
    attempt, and ProviderUnavailable.
    """
    provider = provider_of(providers, attempt)
    try:
        return (
            _fetch_checkout_session(provider, attempt)
            if attempt.checkout_session_id
            else _open_checkout_session(provider, attempt, order, at=utc_now())
        )
    except PaymentRefused as refusal:
        with transactions.begin() as session:
            order = Order.get_for_update(session, attempt.order_id)
            refused = order.attempt(attempt.id)
            # A concurrent caller may have recorded the same refusal; the subscription must count it once.
            if refused.mark_open_failed(str(refusal.args[0])):
                _update_subscription(session, refused)
            order.release_coupon()
            clear_data_if_erased(session, order, refused)
        raise
    except ProviderOutcomeUnknown:
        with transactions.begin() as session:
            attempt_for_update(session, attempt).mark_unknown()
        raise


def close_checkout_session(
    transactions: Transactions, providers: Providers, attempt: PaymentAttempt
) -> PaymentSnapshot:
    """Close the checkout session of a superseded attempt, unless it is already paid; return its state.

    Raises ProviderOutcomeUnknown, ProviderUnavailable.
    """
    assert attempt.checkout_session_id is not None
    snapshot = provider_of(providers, attempt).expire_checkout_session(attempt.checkout_session_id)
    if snapshot.status == "authorized":
        # The buyer paid before the session was closed. No other session can have been opened while this one was live,
        # so this payment may pay the order.
        with transactions.begin() as session:
            attempt_for_update(session, attempt).superseded = False
    return capture_or_void(transactions, providers, attempt, snapshot)


def _close_for_erased_user(
    transactions: Transactions, providers: Providers, attempt: PaymentAttempt, order: Order
) -> PaymentSnapshot:
    """Close the checkout session of an erased user. If none was opened at the provider, none is opened any more."""
    if attempt.checkout_session_id:
        return close_checkout_session(transactions, providers, attempt)
    found = provider_of(providers, attempt).find(PaymentRequest.from_attempt(attempt, order))
    return capture_or_void(transactions, providers, attempt, found or attempt.not_found_snapshot())


def apply_payment_snapshot(session: Session, attempt: PaymentAttempt, snapshot: PaymentSnapshot) -> Order:
    """Apply the provider's state of ``attempt`` under the lock of its order; return the order.

    Applying the same state again changes nothing. If the state violates a database constraint, the attempt is put in
    review: a retry would violate the same constraint.
    """
    order = Order.get_for_update(session, attempt.order_id)
    try:
        with session.begin_nested():
            _apply(session, order, order.attempt(attempt.id), snapshot)
            session.flush()
    except IntegrityError as error:
        order = Order.get_for_update(session, attempt.order_id)
        _mark_for_review(order, order.attempt(attempt.id), error)
    return order


def _apply(session: Session, order: Order, attempt: PaymentAttempt, snapshot: PaymentSnapshot) -> None:
    before, captured_before = attempt.status, attempt.captured_minor
    receipt_before = attempt.receipt_status
    refund_reason = None
    if snapshot.status == "succeeded" and attempt.status not in SETTLED and not order.paid_at:
        order.expire_competing_order(session, at=utc_now())
        refund_reason = find_refund_reason(session, order)
    events = order.apply(attempt, snapshot, pays_order=refund_reason is None, at=utc_now())
    if attempt.captured_minor > captured_before:
        book_capture(session, attempt, at=utc_now())
        if attempt.saves_method and snapshot.method_id:
            _save_method(session, order, attempt, snapshot)
    on_status_changed(session, order, attempt, events, previous_status=before, refund_reason=refund_reason)
    if attempt.receipt_status == "canceled" != receipt_before:
        # The law requires a fiscal receipt: staff must issue it.
        log.error("receipt canceled", attempt_id=attempt.id, order_id=order.id)


def _mark_for_review(order: Order, attempt: PaymentAttempt, error: IntegrityError) -> None:
    rule = getattr(getattr(error.orig, "diag", None), "constraint_name", None)
    log.error("provider state violates a constraint", attempt_id=attempt.id, rule=rule, reason=str(error.orig))
    if attempt.status != "review":
        attempt.mark_for_review([rule or "the tables"])
        order.add_history_entry("payment_review", at=utc_now(), attempt=attempt, detail=attempt.problem)


def on_status_changed(
    session: Session,
    order: Order,
    attempt: PaymentAttempt,
    events: list[Event],
    *,
    previous_status: str,
    refund_reason: str | None,
) -> None:
    """Publish ``events``. If the attempt's status changed, update its subscription and return a duplicate payment.

    ``refund_reason`` is the reason to return the payment, if known; otherwise a duplicate is
    returned with the reason REASON_DUPLICATE_PAYMENT.
    """
    for event in events:
        record(session, order, event)
    if attempt.status == previous_status:
        return
    clear_data_if_erased(session, order, attempt)
    _update_subscription(session, attempt)
    if attempt.status == "duplicate":
        _refund_owed(session, attempt, refund_reason or REASON_DUPLICATE_PAYMENT)
    write_log = log.error if attempt.needs_manual_review else log.info
    write_log(
        "attempt changed", attempt_id=attempt.id, was=previous_status, status=attempt.status, problem=attempt.problem
    )


def clear_data_if_erased(session: Session, order: Order, attempt: PaymentAttempt) -> None:
    """Clear the personal data of an erased user in an ended attempt; a live one needs the data for provider calls."""
    if not attempt.is_live and is_erased(session, "payments", order.user_id):
        attempt.clear_personal_data()


def _save_method(session: Session, order: Order, attempt: PaymentAttempt, snapshot: PaymentSnapshot) -> None:
    """Save the payment method for later charges; if the user is erased, request deletion at the provider."""
    if is_erased(session, "payments", order.user_id):
        if snapshot.customer_id:
            customer = (attempt.provider, attempt.account, snapshot.customer_id)
            ProviderErasure.request(session, [customer], at=utc_now())
        return
    # Erasure finds the customer by the attempt, also after a later payment method has replaced this one.
    attempt.customer_id = snapshot.customer_id
    SavedMethod.upsert(session, user_id=order.user_id, attempt=attempt, snapshot=snapshot, at=utc_now())


def _update_subscription(session: Session, attempt: PaymentAttempt) -> None:
    """Apply the new status of ``attempt`` to the subscription whose period its order pays for, if there is one.

    A payment that succeeds after the end of the subscription is returned.
    """
    order = session.get_one(Order, attempt.order_id)  # locked by the caller
    if order.subscription_id is None:
        return
    subscription = session.get_one(Subscription, order.subscription_id, with_for_update=True, populate_existing=True)
    if subscription.ended_at and attempt.status == "succeeded":
        _refund_owed(session, attempt, REASON_SUBSCRIPTION_ENDED)
    elif subscription.ended_at:
        order.expire(at=utc_now())
    for event in subscription.apply_payment_outcome(order, attempt, at=clock.business_now()):
        record(session, subscription, event)


def _refund_owed(session: Session, attempt: PaymentAttempt, reason: str) -> None:
    if refund := Refund.create_owed(attempt, command_id=attempt.id, reason=reason, at=utc_now()):
        session.add(refund)


def _fetch_checkout_session(provider: Provider, attempt: PaymentAttempt) -> PaymentSnapshot:
    assert attempt.checkout_session_id is not None
    snapshot = provider.fetch(attempt.checkout_session_id)
    if snapshot is None:
        # The provider returned this id earlier. A wrong account or lost data at the provider must not fail the payment.
        log.error("checkout session is unknown to the provider", attempt_id=attempt.id, provider=attempt.provider)
        raise ProviderOutcomeUnknown(provider.name)
    return snapshot


def _open_checkout_session(
    provider: Provider, attempt: PaymentAttempt, order: Order, *, at: datetime
) -> PaymentSnapshot:
    """Open a checkout session, or find the one opened by an earlier call whose response was lost."""
    request = PaymentRequest.from_attempt(attempt, order)
    if at < attempt.created_at + IDEMPOTENCY_KEY_TTL:
        try:
            return provider.open_checkout_session(request)
        except ProviderOutcomeUnknown:
            # Stripe replays a 5xx for the same key: repeating the call may never return the session, listing does.
            if attempt.status == "unknown" and (found := provider.find(request)):
                return found
            raise
    # The key has expired, and repeating the call would open a second session. A session in no list was never opened.
    return provider.find(request) or attempt.not_found_snapshot()


def attempt_for_update(session: Session, attempt: PaymentAttempt) -> PaymentAttempt:
    """Lock the order of an attempt; return the attempt as it is now."""
    return Order.get_for_update(session, attempt.order_id).attempt(attempt.id)
