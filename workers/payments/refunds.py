"""Refund payments. The refund row is committed before the provider is called, so a crash cannot lose the refund.

The provider's response, webhooks and the periodic job all use ``apply_refund``, possibly at the same time.
"""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from models.base import now
from models.errors import PaymentRefused, ProviderOutcomeUnknown, ProviderUnavailable
from models.faults import reach
from models.log import get_logger
from models.outbox import record
from models.payments import Attempt, Order, Refund, RefundSnapshot
from models.payments.ledger import book_refund
from workers import job, task
from workers._delivery import Sessions
from workers.resources import Poke

from .periods import follow_money
from .provider import Provider, Providers, RefundRequest, provider_of
from .sync import KEY_TRUSTED_FOR

log = get_logger(__name__)

SYNCS_A_RUN = 100


@task
def refund_order(
    sessions: Sessions,
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
    it. Raises NotFound, OrderNotPaid, PaymentInReview, PaymentNotOfOrder, RefundTooLarge, AmountNotDivisible,
    PaymentRefused.
    """
    with sessions.begin() as session:
        order = Order.find_locked(session, order_id)
        refund = Refund.of_command(session, sessions.command_id)
        if refund is None:
            refund = Refund.of_paid(
                order,
                amount_minor,
                command_id=sessions.command_id,
                reason=reason,
                requested_by=requested_by,
                payment_id=payment_id,
                keeps_access=keeps_access,
                at=now(),
            )
            payment = order.attempt(refund.attempt_id)
            providers[payment.provider].amounts.check_refund(refund.amount_minor, refund.currency)
            session.add(refund)
    reach("after the refund's commit")
    try:
        _give_back(sessions, providers, refund.id)
    except (ProviderUnavailable, ProviderOutcomeUnknown) as error:
        # The refund is committed: the job retries until the provider responds.
        log.warning("refund waits for its provider", refund_id=refund.id, reason=str(error))
    reach("before the refund's answer")
    with sessions.begin() as session:
        refund = session.get_one(Refund, refund.id)
        if refund.status == "failed":
            raise PaymentRefused(refund.problem)
        return sessions.answer(session, refund.view())


@task
def list_refunds(
    session: Session, *, order_id: UUID, user_id: UUID | None, after: UUID | None, limit: int
) -> dict[str, Any]:
    """Return a page of the refunds of an order, oldest first: {"items", "next"}.

    The order must belong to ``user_id``, unless ``user_id`` is None (staff). Raises NotFound.
    """
    order = Order.of(session, order_id, user_id=user_id)
    found = [refund for refund in Refund.of_order(session, order.id) if after is None or refund.id > after]
    shown = found[:limit]
    following = shown[-1].id if len(found) > limit else None
    return {"items": [each.buyers_view() if user_id else each.view() for each in shown], "next": following}


@task
def sync_refund(sessions: Sessions, providers: Providers, *, refund_id: UUID) -> None:
    """Submit one refund to its provider, or fetch its state, and apply the outcome."""
    _give_back(sessions, providers, refund_id)


@job(every_seconds=60)
def sync_refunds(session: Session, poke: Poke) -> None:
    """Enqueue ``sync_refund`` for each refund whose next check is due."""
    for refund in Refund.due(session, at=now(), limit=SYNCS_A_RUN):
        # Reschedule first: if the hint is lost or the provider does not respond, the refund becomes due again.
        refund.postpone_sync(at=now())
        poke("payments.sync_refund", refund_id=refund.id)


def apply_refund(session: Session, order: Order, attempt: Attempt, snapshot: RefundSnapshot) -> None:
    """Apply the provider's state of a refund of ``attempt``; the caller holds the lock of the order.

    A refund unknown to us was made at the provider (its dashboard): a row is created for it, unless it failed.
    """
    known = (each for each in Refund.of_order(session, order.id) if each.attempt_id == attempt.id)
    refund = next((each for each in known if each.is_told_by(snapshot)), None)
    if refund is None:
        if snapshot.status == "failed":
            return
        refund = Refund.adopt(attempt, snapshot, at=now())
        session.add(refund)
    before, was_owned = refund.status, order.is_owned
    if event := refund.apply(order, snapshot, at=now()):
        record(session, order, event)
    if refund.status == before:
        return
    if order.status == "refunded" and order.redemption and not refund.keeps_access:
        order.redemption.give_back(at=now())
    if order.is_owned != was_owned and not refund.keeps_access:
        follow_money(session, order, reason="refunded")
    book_refund(session, attempt, refund, was=before, at=now())
    tell = log.error if refund.status in {"failed", "review"} else log.info
    tell("refund changed", refund_id=refund.id, was=before, status=refund.status, problem=refund.problem)


def _give_back(sessions: Sessions, providers: Providers, refund_id: UUID) -> None:
    """Submit the refund to its provider, or fetch its state, and apply the outcome. No transaction may be open.

    A refused refund of money still owed to the buyer is first replaced by a new one. Raises ProviderOutcomeUnknown,
    ProviderUnavailable.
    """
    with sessions.begin() as session:
        refund = session.get_one(Refund, refund_id)
        if refund.is_to_be_retried:
            renewed = _renewed(session, refund)
            if renewed is None:
                return
            refund, refund_id = renewed, renewed.id
        attempt = session.get_one(Attempt, refund.attempt_id)
        request = RefundRequest.of(refund, attempt, session.get_one(Order, refund.order_id))
    if not refund.is_open:
        return
    try:
        snapshot = _outcome(provider_of(providers, attempt), refund, request)
    except PaymentRefused as refusal:
        snapshot = refund.not_made(str(refusal.args[0]))
    except ProviderOutcomeUnknown:
        with sessions.begin() as session:
            Order.locked(session, refund.order_id)
            session.get_one(Refund, refund_id, populate_existing=True).lose_sight()
        raise
    reach("between a refund and its outcome")
    _apply(sessions, refund, snapshot)


def _renewed(session: Session, refund: Refund) -> Refund | None:
    """Replace a refused refund by a new one; return None if another worker has done it or nothing is owed any more."""
    order = Order.locked(session, refund.order_id)
    refund = session.get_one(Refund, refund.id, populate_existing=True)
    renewed = refund.renew(order.attempt(refund.attempt_id), at=now()) if refund.is_to_be_retried else None
    if renewed:
        session.add(renewed)
        session.flush()
    return renewed


def _apply(sessions: Sessions, refund: Refund, snapshot: RefundSnapshot) -> None:
    with sessions.begin() as session:
        order = Order.locked(session, refund.order_id)
        apply_refund(session, order, order.attempt(refund.attempt_id), snapshot)


def _outcome(provider: Provider, refund: Refund, request: RefundRequest) -> RefundSnapshot:
    if refund.object_id:
        found = _found(provider, refund, request)
        if found is None:
            log.error("refund is not known to its provider", refund_id=refund.id)
            raise ProviderOutcomeUnknown(provider.name)
        return found
    if now() < refund.created_at + KEY_TRUSTED_FOR:
        try:
            return provider.refund(request)
        except ProviderOutcomeUnknown:
            # Stripe replays a 5xx for the same key: repeating the call may never return the refund, listing does.
            if refund.status == "unknown" and (found := _found(provider, refund, request)):
                return found
            raise
    # The key has expired, and repeating the call would refund twice. A refund in no list was never made.
    return _found(provider, refund, request) or refund.not_made("never made")


def _found(provider: Provider, refund: Refund, request: RefundRequest) -> RefundSnapshot | None:
    made = provider.refunds_of(request.payment_id)
    return next((each for each in made if refund.is_told_by(each)), None)
