"""Reading orders."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from models.payments import Order
from workers import task


@task
def show_order(session: Session, *, order_id: UUID, user_id: UUID | None) -> dict[str, Any]:
    """An order of ``user_id``; of anybody where that is None. Raises NotFound."""
    return Order.of(session, order_id, user_id=user_id).view()


@task
def list_orders(session: Session, *, user_id: UUID, limit: int, after: UUID | None) -> dict[str, Any]:
    """A page of a user's orders, newest first: {"items", "next"}; ``after`` is the "next" of the page before."""
    found = Order.page(session, user_id=user_id, limit=limit + 1, after=after)
    shown = found[:limit]
    return {"items": [order.view() for order in shown], "next": shown[-1].id if len(found) > limit else None}
