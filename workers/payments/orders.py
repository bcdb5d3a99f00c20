"""Read, cancel and expire orders."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from core.bus.outbox import record
from core.db import utc_now
from models.errors import PaymentInProgress
from models.events import EnrollmentCreated
from models.payments import Order, Orders, Subscriptions, ownership
from models.payments.order_responses import order_response, payment_state
from workers import job, task
from workers.runtime.execution import Transactions

from .payment_flow import MAX_PROVIDER_CALLS, PaymentFlow, apply_payment_snapshot
from .provider import Providers

BATCH_SIZE = 100
PURCHASES_MAX = 20  # of one course by one user


@task
def show_order(session: Session, *, order_id: UUID, user_id: UUID | None) -> dict[str, Any]:
    """Return an order of ``user_id``; of any user if ``user_id`` is None. Raises NotFound."""
    return order_response(Orders(session).get(order_id, user_id=user_id))


@task
def list_orders(
    session: Session, *, user_id: UUID, limit: int, after: UUID | None, status: str | None = None
) -> dict[str, Any]:
    """Return a page of a user's orders, newest first: {"items", "next"}.

    ``after`` is the "next" of the previous page.
    """
    found = Orders(session).list_page(user_id=user_id, limit=limit + 1, after=after, status=status)
    shown = found[:limit]
    return {"items": [order_response(order) for order in shown], "next": shown[-1].id if len(found) > limit else None}


@task
def list_course_purchases(session: Session, *, user_id: UUID, course_id: UUID) -> dict[str, Any]:
    """Return a user's latest orders and subscriptions that contain a course: {"orders", "subscriptions"}."""
    theirs: dict[str, Any] = {"user_id": user_id, "course_id": course_id, "limit": PURCHASES_MAX}
    return {
        "orders": [order_response(order) | payment_state(order) for order in Orders(session).list_for_course(**theirs)],
        "subscriptions": [each.to_response() for each in Subscriptions(session).list_for_course(**theirs)],
    }


@task
def list_access_sources(session: Session, *, user_id: UUID, course_id: UUID) -> dict[str, Any]:
    """Return the orders and subscriptions that give a user access to a course: {"items": [[kind, id]]}."""
    return {"items": ownership.list_access_sources(session, user_id, course_id)}


@task
def show_timeline(
    session: Session, *, order_id: UUID, user_id: UUID | None, limit: int, after: UUID | None
) -> dict[str, Any]:
    """Return a page of the history of an order of ``user_id`` (None: of any user), oldest first. Raises NotFound."""
    orders = Orders(session)
    found = orders.list_history(orders.get(order_id, user_id=user_id), limit=limit + 1, after=after)
    shown = found[:limit]
    return {"items": [step.to_response() for step in shown], "next": shown[-1].id if len(found) > limit else None}


@task
def record_access_granted(session: Session, *, event: EnrollmentCreated) -> None:
    """Record in an order's history that its buyer got access to the course."""
    # Replayed events of the courses service may name orders that do not exist in this database.
    order = session.get(Order, UUID(event.source_id)) if event.source == "order" else None
    if order and not Orders(session).has_history_entry(order, "access_granted", at=event.enrolled_at):
        order.add_history_entry("access_granted", at=event.enrolled_at)


@task
def cancel_order(transactions: Transactions, providers: Providers, *, order_id: UUID, user_id: UUID) -> dict[str, Any]:
    """Cancel an unpaid order after closing its checkout session. Canceling a canceled order changes nothing.

    Raises NotFound, OrderClosed, PaymentInProgress, CheckoutOutcomeUnknown, ProviderUnavailable.
    """
    flow = PaymentFlow(transactions, providers)
    for _ in range(MAX_PROVIDER_CALLS):
        with transactions.begin() as session:
            order = Orders(session).get_for_update(order_id, user_id=user_id)
            attempt = order.live_attempt
            if attempt is None or attempt.is_awaiting_provider:
                for event in order.cancel(at=utc_now()):
                    record(session, order, event)
                return transactions.complete(session, order_response(order))
            attempt.superseded = True
        snapshot = flow.call_for_buyer(attempt, order)
        with transactions.begin() as session:
            apply_payment_snapshot(session, attempt, snapshot)
    raise PaymentInProgress("order", str(order_id))


@job
def expire_orders(session: Session) -> None:
    """Expire pending orders that are old enough and have no payment attempt that could still succeed."""
    for order in Orders(session).list_abandoned_for_update(at=utc_now(), limit=BATCH_SIZE):
        for event in order.expire(at=utc_now()):
            record(session, order, event)
