"""Resolve payments, refunds and disputes in review: their state at the provider does not match our request or records.

Staff decide, the current state is fetched from the provider, and the decision is stored with its author and reason.
"""

from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from models.base import now
from models.errors import NotInReview, ResolutionRefused
from models.log import get_logger
from models.payments import Attempt, Dispute, DisputeSnapshot, Order, Refund, RefundSnapshot, Resolution, Snapshot
from models.payments.ledger import book_capture, book_resolution
from models.payments.ownership import reason_to_return
from models.payments.resolutions import Action
from workers import task
from workers._delivery import Sessions

from .disputes import apply_dispute
from .provider import PageRequest, Providers, provider_of
from .refunds import apply_refund
from .sync import follow_up

log = get_logger(__name__)

NOT_THE_ORDERS = "not the order's money"  # refund reason, visible to the buyer


@task
def list_payments(
    session: Session, *, order_id: UUID | None, status: str | None, limit: int, after: UUID | None
) -> dict[str, Any]:
    """Return a page of payments, newest first: {"items", "next"}."""
    found = Attempt.page(session, order_id=order_id, status=status, limit=limit + 1, after=after)
    shown = found[:limit]
    return {"items": [each.view() for each in shown], "next": shown[-1].id if len(found) > limit else None}


@task
def list_all_refunds(session: Session, *, status: str | None, limit: int, after: UUID | None) -> dict[str, Any]:
    """Return a page of refunds of all orders, newest first: {"items", "next"}."""
    found = Refund.page(session, status=status, limit=limit + 1, after=after)
    shown = found[:limit]
    return {"items": [each.view() for each in shown], "next": shown[-1].id if len(found) > limit else None}


@task
def show_payment(session: Session, *, payment_id: UUID) -> dict[str, Any]:
    """Return a payment with the decisions about it. Raises NotFound."""
    return _shown(session, Attempt.find(session, payment_id))


@task
def resolve_payment(
    sessions: Sessions, providers: Providers, *, payment_id: UUID, action: Action, note: str, actor: UUID
) -> dict[str, Any]:
    """Resolve a payment in review.

    ``accept`` pays the order with the captured amount, or refunds it if the order no longer needs it. ``refund``
    refunds the captured amount. ``release`` requires that nothing was captured; it closes the checkout session and
    voids an authorization. Raises NotFound, NotInReview, ResolutionRefused, ProviderUnavailable,
    ProviderOutcomeUnknown.
    """
    with sessions.begin() as session:
        attempt = Attempt.find(session, payment_id)
        if attempt.status != "review":
            raise NotInReview("payment", str(payment_id))
        order = session.get_one(Order, attempt.order_id)
    snapshot = _settled(providers, attempt, order, action)
    with sessions.begin() as session:
        order = Order.locked(session, attempt.order_id)
        attempt = order.attempt(payment_id)
        if attempt.status != "review":
            raise NotInReview("payment", str(payment_id))
        _resolve(session, order, attempt, snapshot, action)
        order.note(f"payment_{attempt.status}", at=now(), attempt=attempt, detail=f"review: {action}")
        _audit(session, attempt, action=action, note=note, actor=actor, subject="payment", subject_id=payment_id)
        return sessions.answer(session, _shown(session, attempt))


@task
def resolve_refund(
    sessions: Sessions, providers: Providers, *, refund_id: UUID, action: Action, note: str, actor: UUID
) -> dict[str, Any]:
    """Resolve a refund in review.

    ``accept`` books the refund with the amount that the provider reports. ``release`` marks it as failed: nothing was
    refunded. Raises NotFound, NotInReview, ResolutionRefused, ProviderUnavailable, ProviderOutcomeUnknown.
    """
    with sessions.begin() as session:
        refund = Refund.find(session, refund_id)
        attempt = session.get_one(Attempt, refund.attempt_id)
    assert attempt.payment_id is not None  # it has brought money
    made = provider_of(providers, attempt).refunds_of(attempt.payment_id)
    reported = next((each for each in made if refund.is_told_by(each)), None)
    with sessions.begin() as session:
        order = Order.locked(session, refund.order_id)
        attempt = order.attempt(refund.attempt_id)
        refund = session.get_one(Refund, refund_id, populate_existing=True)
        if refund.status != "review":
            raise NotInReview("refund", str(refund_id))
        if action == "accept":
            reported = _acceptable(reported, attempt)
            refund.accept(attempt, reported)
        else:
            if reported and reported.status != "failed" and reported.currency == attempt.money_currency:
                raise ResolutionRefused("The provider has given this money back: accept the refund.")
            refund.give_up()
            reported = refund.not_made("released from review")
        apply_refund(session, order, attempt, replace(reported, refund_id=str(refund.id)))
        _audit(session, attempt, action=action, note=note, actor=actor, subject="refund", subject_id=refund_id)
        return sessions.answer(session, refund.view())


@task
def resolve_dispute(
    sessions: Sessions,
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
    withdraws nothing. Raises NotFound, NotInReview, ResolutionRefused, ProviderUnavailable, ProviderOutcomeUnknown.
    """
    with sessions.begin() as session:
        dispute = Dispute.find(session, dispute_id)
        attempt = session.get_one(Attempt, dispute.attempt_id)
    assert attempt.payment_id is not None  # it has brought money
    reported = provider_of(providers, attempt).disputes_of(attempt.payment_id) if action == "accept" else []
    with sessions.begin() as session:
        order = Order.locked(session, dispute.order_id)
        attempt = order.attempt(dispute.attempt_id)
        dispute = session.get_one(Dispute, dispute_id, populate_existing=True)
        if dispute.status != "review":
            raise NotInReview("dispute", str(dispute_id))
        if action == "accept":
            assert amount_minor is not None  # the gateway requires it
            snapshot = _of_dispute(reported, dispute)
            dispute.accept(amount_minor, attempt.money_currency)
            fitting = replace(snapshot, amount_minor=amount_minor, currency=attempt.money_currency)
            apply_dispute(session, order, attempt, fitting)
        else:
            dispute.give_up(at=now())
            order.note("dispute_released", at=now(), attempt=attempt)
        _audit(session, attempt, action=action, note=note, actor=actor, subject="dispute", subject_id=dispute_id)
        return sessions.answer(session, dispute.view())


def _settled(providers: Providers, attempt: Attempt, order: Order, action: Action) -> Snapshot | None:
    """Capture, void or close at the provider what is still open; return the provider's state afterwards.

    No transaction may be open. Raises ResolutionRefused if the action does not fit the captured amount.
    """
    provider = provider_of(providers, attempt)
    snapshot = provider.fetch(attempt.page_id) if attempt.page_id else provider.find(PageRequest.of(attempt, order))
    if snapshot and snapshot.status == "authorized":
        snapshot = provider.take(snapshot) if action == "accept" else provider.release(snapshot)
    elif snapshot and snapshot.page_id and snapshot.page_open and action == "release":
        snapshot = provider.expire_page(snapshot.page_id)
    captured = bool(snapshot and snapshot.captured_minor and snapshot.account == attempt.account)
    if captured and action == "release":
        raise ResolutionRefused("Money was captured: accept or refund the payment.")
    if not captured and action != "release":
        raise ResolutionRefused("No money was captured: release the payment.")
    return snapshot


def _resolve(session: Session, order: Order, attempt: Attempt, snapshot: Snapshot | None, action: Action) -> None:
    """Apply the decision to the payment, book it in the ledger and call ``follow_up``."""
    unwanted = None
    if action == "release":
        attempt.give_up("released from review")
        follow_up(session, order, attempt, [], was="review", unwanted=None)
        return
    assert snapshot is not None
    had_money = attempt.captured_minor > 0
    if action == "refund":
        unwanted = NOT_THE_ORDERS
    elif not order.paid_at:
        unwanted = reason_to_return(session, order)
    events = order.accept(attempt, snapshot, wanted=unwanted is None, at=now())
    book = book_resolution if had_money else book_capture
    book(session, attempt, at=now())
    follow_up(session, order, attempt, events, was="review", unwanted=unwanted)


def _acceptable(reported: RefundSnapshot | None, attempt: Attempt) -> RefundSnapshot:
    if reported is None or reported.status == "failed":
        raise ResolutionRefused("The provider has given nothing back: release the refund.")
    if reported.currency != attempt.money_currency:
        raise ResolutionRefused(f"The provider gave back {reported.currency}: release the refund, and book it by hand.")
    return reported


def _of_dispute(reported: list[DisputeSnapshot], dispute: Dispute) -> DisputeSnapshot:
    snapshot = next((each for each in reported if each.object_id == dispute.object_id), None)
    if snapshot is None:
        raise ResolutionRefused("The provider does not know this dispute any more: release it.")
    return snapshot


def _audit(session: Session, attempt: Attempt, **decision: Any) -> None:
    session.flush()
    Resolution.add(session, order_id=attempt.order_id, at=now(), **decision)
    session.flush()
    said = {name: value for name, value in decision.items() if name != "note"}
    log.warning("review resolved", payment_id=attempt.id, **said)


def _shown(session: Session, attempt: Attempt) -> dict[str, Any]:
    resolutions = [each.view() for each in Resolution.of(session, attempt.id)]
    return {**attempt.view(), "resolutions": resolutions}
