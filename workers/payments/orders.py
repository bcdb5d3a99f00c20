"""Read, cancel and expire orders."""

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
    """Return an order of ``user_id``; of any user if ``user_id`` is None. Raises NotFound."""
    return Order.of(session, order_id, user_id=user_id).view()


@task
def show_invoice(session: Session, *, order_id: UUID, user_id: UUID | None) -> dict[str, Any]:
    """Return the invoice of an order of ``user_id`` (None: of any user). Raises NotFound, OrderNotPaid."""
    return invoice_of(Order.of(session, order_id, user_id=user_id))


@task
def list_orders(session: Session, *, user_id: UUID, limit: int, after: UUID | None) -> dict[str, Any]:
    """Return a page of a user's orders, newest first: {"items", "next"}.

    ``after`` is the "next" of the previous page.
    """
    found = Order.page(session, user_id=user_id, limit=limit + 1, after=after)
    shown = found[:limit]
    return {"items": [order.view() for order in shown], "next": shown[-1].id if len(found) > limit else None}


@task
def show_timeline(
    session: Session, *, order_id: UUID, user_id: UUID | None, limit: int, after: UUID | None
) -> dict[str, Any]:
    """Return a page of the history of an order of ``user_id`` (None: of any user), oldest first. Raises NotFound."""
    found = Order.of(session, order_id, user_id=user_id).timeline(session, limit=limit + 1, after=after)
    shown = found[:limit]
    return {"items": [step.view() for step in shown], "next": shown[-1].id if len(found) > limit else None}


@task
def note_access(session: Session, *, event: EnrollmentCreated) -> None:
    """Record in an order's history that its buyer got access to the course."""
    # Replayed events of the courses service may name orders that do not exist in this database.
    order = session.get(Order, UUID(event.source_id)) if event.source == "order" else None
    if order and not order.has_step(session, "access_given", at=event.enrolled_at):
        order.note("access_given", at=event.enrolled_at)


@task
def cancel_order(sessions: Sessions, providers: Providers, *, order_id: UUID, user_id: UUID) -> dict[str, Any]:
    """Cancel an unpaid order after closing its checkout session. Canceling a canceled order changes nothing.

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
    """Expire pending orders that are old enough and have no payment attempt that could still succeed."""
    for order in Order.given_up(session, at=now(), limit=ORDERS_A_RUN):
        for event in order.expire(at=now()):
            record(session, order, event)
