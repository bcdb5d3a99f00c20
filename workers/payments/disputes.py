"""Apply disputes (chargebacks) from the providers. A webhook only triggers fetching all disputes of the payment."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from core.bus.outbox import record
from core.db import utc_now
from core.log import get_logger
from models.payments import Dispute, DisputeSnapshot, Order, PaymentAttempt
from models.payments.ledger import book_dispute
from workers import task

from .domain_events import OrderAccessChanged, dispatch
from .payment_flow import refund_returned_money

log = get_logger(__name__)


@task
def list_disputes(
    session: Session, *, order_id: UUID | None, status: str | None, limit: int, after: UUID | None
) -> dict[str, Any]:
    """Return a page of disputes, newest first: {"items", "next"}."""
    found = Dispute.list_page(session, order_id=order_id, status=status, limit=limit + 1, after=after)
    shown = found[:limit]
    return {"items": [each.to_response() for each in shown], "next": shown[-1].id if len(found) > limit else None}


def apply_dispute(session: Session, order: Order, attempt: PaymentAttempt, snapshot: DisputeSnapshot) -> None:
    """Apply the provider's state of a dispute of ``attempt``, which is captured; the caller holds the order's lock."""
    dispute, is_new = Dispute.get_or_create(session, attempt, snapshot, at=utc_now())
    before, taken_before_minor, had_access = dispute.status, dispute.taken_minor, order.grants_access
    if event := dispute.apply(order, snapshot, at=utc_now()):
        record(session, order, event)
    if (dispute.status, dispute.taken_minor) == (before, taken_before_minor) and not is_new:
        return
    book_dispute(session, attempt, dispute, taken_before_minor=taken_before_minor, at=utc_now())
    if dispute.taken_minor < taken_before_minor:
        refund_returned_money(session, attempt)
    if order.grants_access != had_access:
        dispatch(session, OrderAccessChanged(order, "disputed"))
    # Logged as an error to alert staff: evidence is accepted for a few days only.
    log.error("dispute changed", dispute_id=dispute.id, was=before, status=dispute.status, problem=dispute.problem)
