"""Resolve payments, refunds and disputes in review: their state at the provider does not match our request or records.

Staff decide, the current state is fetched from the provider, and the decision is stored with its author and reason.
"""

from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from core.db import utc_now
from core.log import get_logger
from models.commands.payments import Action
from models.errors import NotInReview, ResolutionNotAllowed
from models.payments import (
    Dispute,
    DisputeSnapshot,
    Order,
    Orders,
    PaymentAttempt,
    PaymentSnapshot,
    Refund,
    RefundSnapshot,
    Resolution,
)
from models.payments.ledger import book_capture, book_resolution
from models.payments.ownership import find_refund_reason
from workers import task
from workers.runtime.execution import Transactions

from .disputes import apply_dispute
from .payment_flow import on_status_changed
from .provider import PaymentRequest, Providers, provider_of
from .refunds import apply_refund

log = get_logger(__name__)

REASON_NOT_FOR_ORDER = "payment does not belong to the order"  # refund reason, visible to the buyer


@task
def list_payments(
    session: Session, *, order_id: UUID | None, status: str | None, limit: int, after: UUID | None
) -> dict[str, Any]:
    """Return a page of payments, newest first: {"items", "next"}."""
    found = PaymentAttempt.list_page(session, order_id=order_id, status=status, limit=limit + 1, after=after)
    shown = found[:limit]
    return {"items": [each.to_response() for each in shown], "next": shown[-1].id if len(found) > limit else None}


@task
def list_all_refunds(session: Session, *, status: str | None, limit: int, after: UUID | None) -> dict[str, Any]:
    """Return a page of refunds of all orders, newest first: {"items", "next"}."""
    found = Refund.list_page(session, status=status, limit=limit + 1, after=after)
    shown = found[:limit]
    return {"items": [each.to_response() for each in shown], "next": shown[-1].id if len(found) > limit else None}


@task
def show_payment(session: Session, *, payment_id: UUID) -> dict[str, Any]:
    """Return a payment with the decisions about it. Raises NotFound."""
    return _payment_response(session, PaymentAttempt.get(session, payment_id))


@task
def resolve_payment(
    transactions: Transactions, providers: Providers, *, payment_id: UUID, action: Action, note: str, actor: UUID
) -> dict[str, Any]:
    """Resolve a payment in review.

    ``accept`` pays the order with the captured amount, or refunds it if the order no longer needs it. ``refund``
    refunds the captured amount. ``release`` requires that nothing was captured; it closes the checkout session and
    voids an authorization. Raises NotFound, NotInReview, ResolutionNotAllowed, ProviderUnavailable,
    ProviderOutcomeUnknown.
    """
    with transactions.begin() as session:
        attempt = PaymentAttempt.get(session, payment_id)
        if attempt.status != "review":
            raise NotInReview("payment", str(payment_id))
        order = session.get_one(Order, attempt.order_id)
    snapshot = _settle_at_provider(providers, attempt, order, action)
    with transactions.begin() as session:
        order = Orders(session).get_for_update(attempt.order_id)
        attempt = order.attempt(payment_id)
        if attempt.status != "review":
            raise NotInReview("payment", str(payment_id))
        _resolve(session, order, attempt, snapshot, action)
        order.add_history_entry(f"payment_{attempt.status}", at=utc_now(), attempt=attempt, detail=f"review: {action}")
        _record_resolution(
            session, attempt, action=action, note=note, actor=actor, subject="payment", subject_id=payment_id
        )
        return transactions.complete(session, _payment_response(session, attempt))


@task
def resolve_refund(
    transactions: Transactions, providers: Providers, *, refund_id: UUID, action: Action, note: str, actor: UUID
) -> dict[str, Any]:
    """Resolve a refund in review.

    ``accept`` books the refund with the amount that the provider reports. ``release`` marks it as failed: nothing was
    refunded. Raises NotFound, NotInReview, ResolutionNotAllowed, ProviderUnavailable, ProviderOutcomeUnknown.
    """
    with transactions.begin() as session:
        refund = Refund.get(session, refund_id)
        attempt = session.get_one(PaymentAttempt, refund.attempt_id)
    assert attempt.payment_id is not None  # it has brought money
    made = provider_of(providers, attempt).list_refunds(attempt.payment_id)
    reported = next((each for each in made if refund.matches(each)), None)
    with transactions.begin() as session:
        order = Orders(session).get_for_update(refund.order_id)
        attempt = order.attempt(refund.attempt_id)
        refund = session.get_one(Refund, refund_id, populate_existing=True)
        if refund.status != "review":
            raise NotInReview("refund", str(refund_id))
        if action == "accept":
            reported = _require_acceptable_refund(reported, attempt)
            refund.accept_from_review(attempt, reported)
        else:
            if reported and reported.status != "failed" and reported.currency == attempt.money_currency:
                raise ResolutionNotAllowed("The provider has refunded this amount: accept the refund.")
            refund.release_from_review()
            reported = refund.failed_snapshot("released from review")
        apply_refund(session, order, attempt, replace(reported, refund_id=str(refund.id)))
        _record_resolution(
            session, attempt, action=action, note=note, actor=actor, subject="refund", subject_id=refund_id
        )
        return transactions.complete(session, refund.to_response())


@task
def resolve_dispute(
    transactions: Transactions,
    providers: Providers,
    *,
    dispute_id: UUID,
    action: Action,
    amount_minor: int | None,
    note: str,
    actor: UUID,
) -> dict[str, Any]:
    """Resolve a dispute in review.

    ``accept`` applies the dispute with ``amount_minor``, in the payment's currency. ``release`` closes it: the bank
    withdraws nothing. Raises NotFound, NotInReview, ResolutionNotAllowed, ProviderUnavailable, ProviderOutcomeUnknown.
    """
    with transactions.begin() as session:
        dispute = Dispute.get(session, dispute_id)
        attempt = session.get_one(PaymentAttempt, dispute.attempt_id)
    assert attempt.payment_id is not None  # it has brought money
    reported = provider_of(providers, attempt).list_disputes(attempt.payment_id) if action == "accept" else []
    with transactions.begin() as session:
        order = Orders(session).get_for_update(dispute.order_id)
        attempt = order.attempt(dispute.attempt_id)
        dispute = session.get_one(Dispute, dispute_id, populate_existing=True)
        if dispute.status != "review":
            raise NotInReview("dispute", str(dispute_id))
        if action == "accept":
            assert amount_minor is not None  # the gateway requires it
            snapshot = _find_dispute_snapshot(reported, dispute)
            dispute.accept_from_review(amount_minor, attempt.money_currency)
            corrected = replace(snapshot, amount_minor=amount_minor, currency=attempt.money_currency)
            apply_dispute(session, order, attempt, corrected)
        else:
            dispute.release_from_review(at=utc_now())
            order.add_history_entry("dispute_released", at=utc_now(), attempt=attempt)
        _record_resolution(
            session, attempt, action=action, note=note, actor=actor, subject="dispute", subject_id=dispute_id
        )
        return transactions.complete(session, dispute.to_response())


def _settle_at_provider(
    providers: Providers, attempt: PaymentAttempt, order: Order, action: Action
) -> PaymentSnapshot | None:
    """Capture, void or close at the provider what is still open; return the provider's state afterwards.

    No transaction may be open. Raises ResolutionNotAllowed if the action does not fit the captured amount.
    """
    provider = provider_of(providers, attempt)
    snapshot = (
        provider.fetch(attempt.checkout_session_id)
        if attempt.checkout_session_id
        else provider.find(PaymentRequest.from_attempt(attempt, order))
    )
    if snapshot and snapshot.status == "authorized":
        snapshot = provider.capture(snapshot) if action == "accept" else provider.void(snapshot)
    elif snapshot and snapshot.checkout_session_id and snapshot.checkout_session_open and action == "release":
        snapshot = provider.expire_checkout_session(snapshot.checkout_session_id)
    captured = bool(snapshot and snapshot.captured_minor and snapshot.account == attempt.account)
    if captured and action == "release":
        raise ResolutionNotAllowed("Money was captured: accept or refund the payment.")
    if not captured and action != "release":
        raise ResolutionNotAllowed("No money was captured: release the payment.")
    return snapshot


def _resolve(
    session: Session, order: Order, attempt: PaymentAttempt, snapshot: PaymentSnapshot | None, action: Action
) -> None:
    """Apply the decision to the payment, book it in the ledger and call ``on_status_changed``."""
    refund_reason = None
    if action == "release":
        attempt.release_from_review("released from review")
        on_status_changed(session, order, attempt, [], previous_status="review", refund_reason=None)
        return
    assert snapshot is not None
    had_money = attempt.captured_minor > 0
    if action == "refund":
        refund_reason = REASON_NOT_FOR_ORDER
    elif not order.paid_at:
        refund_reason = find_refund_reason(session, order)
    events = order.accept_from_review(attempt, snapshot, pays_order=refund_reason is None, at=utc_now())
    book = book_resolution if had_money else book_capture
    book(session, attempt, at=utc_now())
    on_status_changed(session, order, attempt, events, previous_status="review", refund_reason=refund_reason)


def _require_acceptable_refund(reported: RefundSnapshot | None, attempt: PaymentAttempt) -> RefundSnapshot:
    if reported is None or reported.status == "failed":
        raise ResolutionNotAllowed("The provider has refunded nothing: release the refund.")
    if reported.currency != attempt.money_currency:
        raise ResolutionNotAllowed(
            f"The provider refunded in {reported.currency}: release the refund, and book it manually."
        )
    return reported


def _find_dispute_snapshot(reported: list[DisputeSnapshot], dispute: Dispute) -> DisputeSnapshot:
    snapshot = next((each for each in reported if each.object_id == dispute.object_id), None)
    if snapshot is None:
        raise ResolutionNotAllowed("The dispute no longer exists at the provider: release it.")
    return snapshot


def _record_resolution(session: Session, attempt: PaymentAttempt, **decision: Any) -> None:
    session.flush()
    Resolution.add(session, order_id=attempt.order_id, at=utc_now(), **decision)
    session.flush()
    logged_fields = {name: value for name, value in decision.items() if name != "note"}
    log.warning("review resolved", payment_id=attempt.id, **logged_fields)


def _payment_response(session: Session, attempt: PaymentAttempt) -> dict[str, Any]:
    resolutions = [each.to_response() for each in Resolution.list_for_subject(session, attempt.id)]
    return {**attempt.to_response(), "resolutions": resolutions}
