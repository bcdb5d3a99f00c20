"""Refund payments. The refund row is committed before the provider is called, so a crash cannot lose the refund.

The provider's response, webhooks and the periodic job all use ``apply_refund``, possibly at the same time.
"""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from core.bus.outbox import record
from core.db import utc_now
from core.fault_injection import crash_point
from core.log import get_logger
from models.commands import SyncRefund
from models.errors import PaymentRefused, ProviderOutcomeUnknown, ProviderUnavailable
from models.payments import Order, Orders, PaymentAttempt, Refund, RefundSnapshot
from models.payments.ledger import book_refund
from workers import job, task
from workers.runtime.dependencies import EnqueueAfterCommit
from workers.runtime.execution import Transactions

from .domain_events import OrderAccessChanged, dispatch
from .payment_flow import IDEMPOTENCY_KEY_TTL, refund_returned_money
from .provider import Provider, Providers, RefundRequest, provider_of

log = get_logger(__name__)

BATCH_SIZE = 100


@task
def refund_order(
    transactions: Transactions,
    providers: Providers,
    *,
    order_id: UUID,
    amount_minor: int | None,
    reason: str,
    requested_by: UUID,
    payment_id: UUID | None = None,
    keeps_access: bool = False,
) -> dict[str, Any]:
    """Refund ``amount_minor`` of a payment of an order; None refunds the remaining amount.

    Without ``payment_id``, the payment that paid the order is refunded. A full refund ends the buyer's access unless
    ``keeps_access`` is set. If the provider's outcome is unknown, the open refund is returned and the job completes
    it. Raises NotFound, OrderNotPaid, PaymentInReview, PaymentOrderMismatch, RefundTooLarge, AmountNotDivisible,
    PaymentRefused.
    """
    with transactions.begin() as session:
        order = Orders(session).get_for_update(order_id)
        refund = Refund.find_by_command(session, transactions.command_id)
        if refund is None:
            refund = Refund.create_for_order(
                order,
                amount_minor,
                command_id=transactions.command_id,
                reason=reason,
                requested_by=requested_by,
                payment_id=payment_id,
                keeps_access=keeps_access,
                at=utc_now(),
            )
            payment = order.attempt(refund.attempt_id)
            providers[payment.provider].amounts.check_refund(refund.amount_minor, refund.currency)
            session.add(refund)
    crash_point("after the refund's commit")
    try:
        _submit_refund(transactions, providers, refund.id)
    except (ProviderUnavailable, ProviderOutcomeUnknown) as error:
        # The refund is committed: the job retries until the provider responds.
        log.warning("refund is pending at the provider", refund_id=refund.id, reason=str(error))
    crash_point("before the refund's response")
    with transactions.begin() as session:
        refund = session.get_one(Refund, refund.id)
        if refund.status == "failed":
            raise PaymentRefused(refund.problem)
        return transactions.complete(session, refund.to_response())


@task
def list_refunds(
    session: Session, *, order_id: UUID, user_id: UUID | None, after: UUID | None, limit: int
) -> dict[str, Any]:
    """Return a page of the refunds of an order, oldest first: {"items", "next"}.

    The order must belong to ``user_id``, unless ``user_id`` is None (staff). Raises NotFound.
    """
    order = Orders(session).get(order_id, user_id=user_id)
    found = [refund for refund in Refund.list_for_order(session, order.id) if after is None or refund.id > after]
    shown = found[:limit]
    following = shown[-1].id if len(found) > limit else None
    return {
        "items": [each.to_customer_response() if user_id else each.to_response() for each in shown],
        "next": following,
    }


@task
def sync_refund(transactions: Transactions, providers: Providers, *, refund_id: UUID) -> None:
    """Submit one refund to its provider, or fetch its state, and apply the outcome."""
    _submit_refund(transactions, providers, refund_id)


@job
def sync_refunds(session: Session, enqueue_after_commit: EnqueueAfterCommit) -> None:
    """Enqueue ``sync_refund`` for each refund whose next check is due."""
    for refund in Refund.due(session, at=utc_now(), limit=BATCH_SIZE):
        # Reschedule first: if the hint is lost or the provider does not respond, the refund becomes due again.
        refund.postpone_sync(at=utc_now())
        enqueue_after_commit(SyncRefund(refund_id=refund.id))


def apply_refund(session: Session, order: Order, attempt: PaymentAttempt, snapshot: RefundSnapshot) -> None:
    """Apply the provider's state of a refund of ``attempt``; the caller holds the lock of the order.

    A refund unknown to us was made at the provider (its dashboard): a row is created for it, unless it failed.
    """
    known = (each for each in Refund.list_for_order(session, order.id) if each.attempt_id == attempt.id)
    refund = next((each for each in known if each.matches(snapshot)), None)
    if refund is None:
        if snapshot.status == "failed":
            return
        refund = Refund.create_from_provider(attempt, snapshot, at=utc_now())
        session.add(refund)
    before, had_access = refund.status, order.grants_access
    if event := refund.apply(order, snapshot, at=utc_now()):
        record(session, order, event)
    if refund.apply_receipt(snapshot, at=utc_now()):
        order.add_history_entry("receipt_canceled", at=utc_now(), attempt=attempt)
        log.error("receipt canceled", refund_id=refund.id, order_id=order.id)  # the law requires it
    if refund.status == before:
        return
    if order.status == "refunded" and order.redemption and not refund.keeps_access:
        order.redemption.mark_returned(at=utc_now())
    if order.grants_access != had_access and not refund.keeps_access:
        dispatch(session, OrderAccessChanged(order, "refunded"))
    book_refund(session, attempt, refund, previous_status=before, at=utc_now())
    if refund.status == "failed":
        refund_returned_money(session, attempt)
    write_log = log.error if refund.status in {"failed", "review"} else log.info
    write_log("refund changed", refund_id=refund.id, was=before, status=refund.status, problem=refund.problem)


def _submit_refund(transactions: Transactions, providers: Providers, refund_id: UUID) -> None:
    """Submit the refund to its provider, or fetch its state, and apply the outcome. No transaction may be open.

    A refused refund of money still owed to the buyer is first replaced by a new one. Raises ProviderOutcomeUnknown,
    ProviderUnavailable.
    """
    with transactions.begin() as session:
        refund = session.get_one(Refund, refund_id)
        if refund.must_be_retried:
            replacement = _replace_refused_refund(session, refund)
            if replacement is None:
                return
            refund, refund_id = replacement, replacement.id
        attempt = session.get_one(PaymentAttempt, refund.attempt_id)
        request = RefundRequest.from_refund(refund, attempt, session.get_one(Order, refund.order_id))
    if not refund.may_still_change:
        return
    try:
        snapshot = _call_provider(provider_of(providers, attempt), refund, request)
    except PaymentRefused as refusal:
        snapshot = refund.failed_snapshot(str(refusal.args[0]))
    except ProviderOutcomeUnknown:
        with transactions.begin() as session:
            Orders(session).get_for_update(refund.order_id)
            session.get_one(Refund, refund_id, populate_existing=True).mark_unknown()
        raise
    crash_point("between a refund and its outcome")
    _apply(transactions, refund, snapshot)


def _replace_refused_refund(session: Session, refund: Refund) -> Refund | None:
    """Replace a refused refund by a new one; return None if another worker has done it or nothing is owed any more."""
    order = Orders(session).get_for_update(refund.order_id)
    refund = session.get_one(Refund, refund.id, populate_existing=True)
    replacement = (
        refund.create_replacement(order.attempt(refund.attempt_id), at=utc_now()) if refund.must_be_retried else None
    )
    if replacement:
        session.add(replacement)
        session.flush()
    return replacement


def _apply(transactions: Transactions, refund: Refund, snapshot: RefundSnapshot) -> None:
    with transactions.begin() as session:
        order = Orders(session).get_for_update(refund.order_id)
        apply_refund(session, order, order.attempt(refund.attempt_id), snapshot)


def _call_provider(provider: Provider, refund: Refund, request: RefundRequest) -> RefundSnapshot:
    if refund.object_id:
        found = _find_refund(provider, refund, request)
        if found is None:
            log.error("refund is unknown to the provider", refund_id=refund.id)
            raise ProviderOutcomeUnknown(provider.name)
        return found
    if utc_now() < refund.created_at + IDEMPOTENCY_KEY_TTL:
        try:
            return provider.refund(request)
        except ProviderOutcomeUnknown:
            # Stripe replays a 5xx for the same key: repeating the call may never return the refund, listing does.
            if refund.status == "unknown" and (found := _find_refund(provider, refund, request)):
                return found
            raise
    # The key has expired, and repeating the call would refund twice. A refund in no list was never made.
    return _find_refund(provider, refund, request) or refund.failed_snapshot("not found at the provider")


def _find_refund(provider: Provider, refund: Refund, request: RefundRequest) -> RefundSnapshot | None:
    made = provider.list_refunds(request.payment_id)
    return next((each for each in made if refund.matches(each)), None)
