"""Orders: reading them, giving them up, closing those that nobody pays."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from models.base import now
from models.errors import PaymentInProgress
from models.events import EnrollmentCreated
from models.outbox import record
from models.payments import Order
from models.payments.invoices import invoice_of
from workers import job, task
from workers._delivery import Sessions

from .checkouts import ROUNDS, page_of
from .provider import Providers
from .sync import apply_snapshot

ORDERS_A_RUN = 100


@task
def show_order(session: Session, *, order_id: UUID, user_id: UUID | None) -> dict[str, Any]:
    """An order of ``user_id``; of anybody where that is None. Raises NotFound."""
    return Order.of(session, order_id, user_id=user_id).view()


@task
def show_invoice(session: Session, *, order_id: UUID, user_id: UUID | None) -> dict[str, Any]:
    """The invoice of an order of ``user_id`` (None: of anybody). Raises NotFound, OrderNotPaid."""
    return invoice_of(Order.of(session, order_id, user_id=user_id))


@task
def list_orders(session: Session, *, user_id: UUID, limit: int, after: UUID | None) -> dict[str, Any]:
    """A page of a user's orders, newest first: {"items", "next"}; ``after`` is the "next" of the page before."""
    found = Order.page(session, user_id=user_id, limit=limit + 1, after=after)
    shown = found[:limit]
    return {"items": [order.view() for order in shown], "next": shown[-1].id if len(found) > limit else None}


@task
def show_timeline(
    session: Session, *, order_id: UUID, user_id: UUID | None, limit: int, after: UUID | None
) -> dict[str, Any]:
    """A page of what happened to an order of ``user_id`` (None: of anybody), oldest first. Raises NotFound."""
    found = Order.of(session, order_id, user_id=user_id).timeline(session, limit=limit + 1, after=after)
    shown = found[:limit]
    return {"items": [step.view() for step in shown], "next": shown[-1].id if len(found) > limit else None}


@task
def note_access(session: Session, *, event: EnrollmentCreated) -> None:
    """Note in an order's history that its buyer was let in."""
    # A replay of courses' events may name orders that this database never had.
    order = session.get(Order, UUID(event.source_id)) if event.source == "order" else None
    if order and not order.has_step(session, "access_given", at=event.enrolled_at):
        order.note("access_given", at=event.enrolled_at)


@task
def cancel_order(sessions: Sessions, providers: Providers, *, order_id: UUID, user_id: UUID) -> dict[str, Any]:
    """Give an unpaid order up, and close its payment page. What was given up stays so, however often it is asked.

    Raises NotFound, OrderClosed, PaymentInProgress, CheckoutOutcomeUnknown, ProviderUnavailable.
    """
    for _ in range(ROUNDS):
        with sessions.begin() as session:
            order = Order.locked_of(session, order_id, user_id=user_id)
            attempt = order.live_attempt
            if attempt is None or attempt.is_out_of_hand:
                for event in order.cancel(at=now()):
                    record(session, order, event)
                return sessions.answer(session, order.view())
            attempt.superseded = True
        snapshot = page_of(sessions, providers, attempt, order)
        with sessions.begin() as session:
            apply_snapshot(session, attempt, snapshot)
    raise PaymentInProgress("order", str(order_id))


@job(every_seconds=600)
def expire_orders(session: Session) -> None:
    """Close the orders whose payments were all declined or given up, and whose buyers have not come back."""
    for order in Order.given_up(session, at=now(), limit=ORDERS_A_RUN):
        for event in order.expire(at=now()):
            record(session, order, event)
