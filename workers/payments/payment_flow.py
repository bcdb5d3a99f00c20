"""The path of a payment: open or reuse an attempt, call its provider, apply the result.

1. ``open_or_reuse_attempt`` adds an attempt to a locked order. The caller commits it before the provider is called.
2. ``PaymentFlow`` calls the provider of the attempt, while no transaction is open.
3. ``apply_payment_snapshot`` applies the provider's state under the lock of the order.

Checkouts, the return page, renewals, webhooks and periodic jobs take these steps, possibly at the same time. No payment
is booked from any other source.
"""

from datetime import timedelta

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.bus.outbox import record
from core.db import utc_now
from core.fault_injection import crash_point
from core.log import get_logger
from models.errors import CheckoutOutcomeUnknown, PaymentRefused, ProviderOutcomeUnknown
from models.events import Event
from models.payments import (
    Order,
    Orders,
    PaymentAttempt,
    PaymentSnapshot,
    PaymentTerms,
    ProviderErasure,
    Refund,
    SavedMethod,
)
from models.payments.ledger import book_capture
from models.payments.orders import Priced
from models.payments.ownership import REASON_DUPLICATE_PAYMENT, find_refund_reason
from models.payments.payment_attempts import SETTLED
from models.personal_data import is_erased
from workers.runtime.execution import Transactions

from .domain_events import PaymentStatusChanged, dispatch
from .provider import PaymentRequest, Provider, Providers, provider_of

log = get_logger(__name__)

# Providers delete an idempotency key after 24 h; repeating a call later would open a second checkout session.
IDEMPOTENCY_KEY_TTL = timedelta(hours=23)
# Enough for the longest case of a checkout: find the checkout session of a call whose response was lost, close that
# session because its terms differ, open a new one.
MAX_PROVIDER_CALLS = 3


# Step 1: open or reuse an attempt.


def open_or_reuse_attempt(order: Order, item: Priced, terms: PaymentTerms, *, ttl: timedelta) -> PaymentAttempt:
    """Return the live attempt of a locked order, which may be on other terms, or add one at the current price."""
    return order.live_attempt or order.start_attempt(item, terms, ttl=ttl, at=utc_now())


# Step 2: call the provider.


class PaymentFlow:
    """Calls the provider of an attempt, which is looked up from the attempt, and returns the state at the provider.

    No transaction may be open. The calls raise ProviderUnavailable if nothing happened and ProviderOutcomeUnknown.
    """

    def __init__(self, transactions: Transactions, providers: Providers) -> None:
        self._transactions = transactions
        self._providers = providers

    def call_for_buyer(self, attempt: PaymentAttempt, order: Order) -> PaymentSnapshot:
        """Call ``refresh``, or ``close`` for an open checkout session that the buyer's command superseded.

        Raises PaymentRefused, CheckoutOutcomeUnknown.
        """
        try:
            if attempt.superseded and attempt.checkout_session_id:
                return self.close(attempt, order)
            return self.refresh(attempt, order)
        except ProviderOutcomeUnknown as error:
            raise CheckoutOutcomeUnknown(str(order.id)) from error

    def refresh(self, attempt: PaymentAttempt, order: Order) -> PaymentSnapshot:
        """Fetch the checkout session or charge of the attempt, or create it; then ``capture_or_void``.

        Raises PaymentRefused and ProviderOutcomeUnknown after recording them at the attempt.
        """
        provider = provider_of(self._providers, attempt)
        try:
            snapshot = (
                _fetch_checkout_session(provider, attempt)
                if attempt.checkout_session_id
                else _open_checkout_session(provider, attempt, order)
            )
        except PaymentRefused as refusal:
            self._record_refusal(attempt, str(refusal.args[0]))
            raise
        except ProviderOutcomeUnknown:
            with self._transactions.begin() as session:
                _get_for_update(session, attempt).mark_unknown()
            raise
        return self.capture_or_void(attempt, snapshot)

    def close(self, attempt: PaymentAttempt, order: Order) -> PaymentSnapshot:
        """Close the checkout session of the attempt, unless it is already paid; then ``capture_or_void``.

        If none was opened at the provider, none is opened any more.
        """
        provider = provider_of(self._providers, attempt)
        if not attempt.checkout_session_id:
            found = provider.find(PaymentRequest.from_attempt(attempt, order))
            return self.capture_or_void(attempt, found or attempt.not_found_snapshot())
        snapshot = provider.expire_checkout_session(attempt.checkout_session_id)
        if snapshot.status == "authorized":
            # The buyer paid before the session was closed. No other session can have been opened while this one was
            # live, so this payment may pay the order.
            with self._transactions.begin() as session:
                _get_for_update(session, attempt).superseded = False
        return self.capture_or_void(attempt, snapshot)

    def capture_or_void(self, attempt: PaymentAttempt, snapshot: PaymentSnapshot) -> PaymentSnapshot:
        """Capture an authorized payment, or void it if the order must not be paid with it; return the new state.

        The authorization is committed under the order's lock before the provider is called. Thus of two paid checkout
        sessions of an order only one is captured. A payment in review is neither captured nor voided.
        """
        if snapshot.status != "authorized":
            return snapshot
        with self._transactions.begin() as session:
            order = apply_payment_snapshot(session, attempt, snapshot)
            wanted = order.should_capture(order.attempt(attempt.id))
            if wanted and find_refund_reason(session, order):
                wanted = False
        crash_point("before an authorization is captured or voided")
        if wanted is None:
            return snapshot
        log.info("authorization settled", attempt_id=attempt.id, captured=wanted)
        provider = provider_of(self._providers, attempt)
        return provider.capture(snapshot) if wanted else provider.void(snapshot)

    def _record_refusal(self, attempt: PaymentAttempt, reason: str) -> None:
        """Record that the provider refused to open the session or to charge. A repeated refusal counts once."""
        with self._transactions.begin() as session:
            order = Orders(session).get_for_update(attempt.order_id)
            refused = order.attempt(attempt.id)
            if refused.mark_open_failed(reason):
                dispatch(session, PaymentStatusChanged(order, refused))
            order.release_coupon()
            _clear_data_if_erased(session, order, refused)


def _fetch_checkout_session(provider: Provider, attempt: PaymentAttempt) -> PaymentSnapshot:
    assert attempt.checkout_session_id is not None
    snapshot = provider.fetch(attempt.checkout_session_id)
    if snapshot is None:
        # The provider returned this id earlier. A wrong account or lost data at the provider must not fail the payment.
        log.error("checkout session is unknown to the provider", attempt_id=attempt.id, provider=attempt.provider)
        raise ProviderOutcomeUnknown(provider.name)
    return snapshot


def _open_checkout_session(provider: Provider, attempt: PaymentAttempt, order: Order) -> PaymentSnapshot:
    """Open a checkout session, or find the one opened by an earlier call whose response was lost."""
    request = PaymentRequest.from_attempt(attempt, order)
    if utc_now() < attempt.created_at + IDEMPOTENCY_KEY_TTL:
        try:
            return provider.open_checkout_session(request)
        except ProviderOutcomeUnknown:
            # Stripe replays a 5xx for the same key: repeating the call may never return the session, listing does.
            if attempt.status == "unknown" and (found := provider.find(request)):
                return found
            raise
    # The key has expired, and repeating the call would open a second session. A session in no list was never opened.
    return provider.find(request) or attempt.not_found_snapshot()


# Step 3: apply the provider's state.


def apply_payment_snapshot(session: Session, attempt: PaymentAttempt, snapshot: PaymentSnapshot) -> Order:
    """Apply the provider's state of ``attempt`` under the lock of its order; return the order.

    Applying the same state again changes nothing. If the state violates a database constraint, the attempt is put in
    review: a retry would violate the same constraint.
    """
    orders = Orders(session)
    order = orders.get_for_update(attempt.order_id)
    try:
        with session.begin_nested():
            _apply(session, order, order.attempt(attempt.id), snapshot)
            session.flush()
    except IntegrityError as error:
        order = orders.get_for_update(attempt.order_id)
        _mark_for_review(order, order.attempt(attempt.id), error)
    return order


def _apply(session: Session, order: Order, attempt: PaymentAttempt, snapshot: PaymentSnapshot) -> None:
    before, captured_before = attempt.status, attempt.captured_minor
    receipt_before = attempt.receipt_status
    refund_reason = None
    if snapshot.status == "succeeded" and attempt.status not in SETTLED and not order.paid_at:
        _expire_competing_order(session, order)
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


def on_status_changed(
    session: Session,
    order: Order,
    attempt: PaymentAttempt,
    events: list[Event],
    *,
    previous_status: str,
    refund_reason: str | None,
) -> None:
    """Publish ``events``. If the attempt's status changed, dispatch PaymentStatusChanged and return a duplicate.

    ``refund_reason`` is the reason to return the payment, if known; otherwise a duplicate is
    returned with the reason REASON_DUPLICATE_PAYMENT.
    """
    record(session, order, *events)
    if attempt.status == previous_status:
        return
    _clear_data_if_erased(session, order, attempt)
    dispatch(session, PaymentStatusChanged(order, attempt))
    if attempt.status == "duplicate":
        refund_owed_money(session, attempt, refund_reason or REASON_DUPLICATE_PAYMENT)
    write_log = log.error if attempt.needs_manual_review else log.info
    write_log(
        "attempt changed", attempt_id=attempt.id, was=previous_status, status=attempt.status, problem=attempt.problem
    )


def refund_owed_money(session: Session, attempt: PaymentAttempt, reason: str) -> None:
    """Create the refund of a captured payment that the buyer does not owe; the refund job submits it."""
    if refund := Refund.create_owed(attempt, command_id=attempt.id, reason=reason, at=utc_now()):
        session.add(refund)


def refund_returned_money(session: Session, attempt: PaymentAttempt) -> None:
    """Refund money that is owed to the buyer and came back to the seller; the caller holds the lock of the order.

    The refund of owed money ends while a dispute or another refund of the payment takes it. If the dispute is won or
    that refund fails, the money is owed again.
    """
    if refund := Refund.create_owed_again(session, attempt, reason=REASON_DUPLICATE_PAYMENT, at=utc_now()):
        session.add(refund)


def _expire_competing_order(session: Session, order: Order) -> None:
    """Expire the pending order for the same period, because late money for ``order`` pays that period.

    The pending order stays open while it has a live attempt.
    """
    orders = Orders(session)
    if order.subscription_id and (competing_id := orders.competing_id(order)):
        orders.get_for_update(competing_id).expire(at=utc_now())
        session.flush()


def _mark_for_review(order: Order, attempt: PaymentAttempt, error: IntegrityError) -> None:
    rule = getattr(getattr(error.orig, "diag", None), "constraint_name", None)
    log.error("provider state violates a constraint", attempt_id=attempt.id, rule=rule, reason=str(error.orig))
    if attempt.status != "review":
        attempt.mark_for_review([rule or "the tables"])
        order.add_history_entry("payment_review", at=utc_now(), attempt=attempt, detail=attempt.problem)


def _clear_data_if_erased(session: Session, order: Order, attempt: PaymentAttempt) -> None:
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


def _get_for_update(session: Session, attempt: PaymentAttempt) -> PaymentAttempt:
    """Lock the order of an attempt; return the attempt as it is now."""
    return Orders(session).get_for_update(attempt.order_id).attempt(attempt.id)
