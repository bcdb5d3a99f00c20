"""Synchronize payment attempts with their providers: when the buyer returns, and periodically."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from core.db import utc_now
from models.commands import SyncAttempt
from models.payments import Order, Orders, PaymentAttempt
from models.payments.order_responses import order_response
from models.personal_data import is_erased
from workers import job, task
from workers.runtime.dependencies import EnqueueAfterCommit
from workers.runtime.execution import Transactions

from .payment_flow import PaymentFlow, apply_payment_snapshot
from .provider import Providers

BATCH_SIZE = 100


@task
def sync_checkout(
    transactions: Transactions, providers: Providers, *, checkout_id: UUID, user_id: UUID
) -> dict[str, Any]:
    """Refresh a checkout when the buyer returns from the provider's page; return the order.

    ``checkout_id`` is the attempt's id, or the order's id if the order was free: then no provider is called. Raises
    NotFound, also for checkouts of other users, and the errors of ``PaymentFlow.refresh``.
    """
    with transactions.begin() as session:
        attempt = session.get(PaymentAttempt, checkout_id)
        order = Orders(session).get(attempt.order_id if attempt else checkout_id, user_id=user_id)
        if attempt is None or not attempt.may_still_change:
            return transactions.complete(session, order_response(order))
    snapshot = PaymentFlow(transactions, providers).refresh(attempt, order)
    with transactions.begin() as session:
        return transactions.complete(session, order_response(apply_payment_snapshot(session, attempt, snapshot)))


@task
def sync_attempt(transactions: Transactions, providers: Providers, *, attempt_id: UUID) -> None:
    """Fetch the state of one attempt and apply it. An open attempt of an erased user is closed at the provider."""
    with transactions.begin() as session:
        attempt = session.get_one(PaymentAttempt, attempt_id)
        order = session.get_one(Order, attempt.order_id)
        if not attempt.may_still_change:
            return
        is_to_be_closed = attempt.is_live and is_erased(session, "payments", order.user_id)
    flow = PaymentFlow(transactions, providers)
    snapshot = flow.close(attempt, order) if is_to_be_closed else flow.refresh(attempt, order)
    with transactions.begin() as session:
        apply_payment_snapshot(session, attempt, snapshot)


@job
def sync_attempts(session: Session, enqueue_after_commit: EnqueueAfterCommit) -> None:
    """Enqueue ``sync_attempt`` for each attempt whose next check is due."""
    for attempt in PaymentAttempt.due(session, at=utc_now(), limit=BATCH_SIZE):
        # Reschedule first: if the hint is lost or the provider does not respond, the attempt becomes due again.
        attempt.postpone_sync(at=utc_now())
        enqueue_after_commit(SyncAttempt(attempt_id=attempt.id))
