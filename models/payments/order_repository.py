"""Queries for orders with their attempts. Only functions whose names say so lock rows."""

from collections.abc import Collection
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Select, bindparam, exists, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, joinedload, selectinload

from core.db import new_id
from models.errors import NotFound

from .order_history import OrderHistoryEntry
from .orders import Order, as_rows
from .payment_attempts import LIVE, PaymentAttempt
from .quote import PurchaseQuote

# A pending order without a live attempt expires this long after its creation; until then the buyer may retry.
PENDING_ORDER_TTL = timedelta(hours=24)


class Orders:
    """The orders of the session's database. The methods that create a pending order also lock it."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get_or_create_pending(self, *, user_id: UUID, quote: PurchaseQuote, at: datetime) -> tuple[Order | None, bool]:
        """Get or create the buyer's pending order for ``quote`` and lock it; also return whether it was created.

        The order is None if a concurrent transaction closed it between the insert and the lock.
        """
        row = {
            "id": new_id(),
            "version": 0,
            "user_id": user_id,
            "status": "pending",
            f"{quote.kind}_id": quote.id,
            "course_title": quote.title,
            "amount_minor": quote.amount_minor,
            "currency": quote.currency,
            "created_at": at,
        }
        if quote.bundle_id:
            row["bundle_courses"] = as_rows(quote.courses)
        made = self._session.connection().scalar(_INSERT_ONCE, row)
        mine = {"user_id": user_id, "sold_id": quote.id}
        order_id = made or self._session.connection().scalar(_LOCK_PENDING[quote.kind], mine)
        return (self._load_locked(order_id) if order_id else None), made is not None

    def get_or_create_for_period(
        self, *, user_id: UUID, subscription_id: UUID, period: tuple[datetime, datetime], at: datetime
    ) -> Order | None:
        """Get or create the subscription's pending order and lock it.

        Returns None if no order is pending because one for this period exists already, for example a paid one.
        """
        row = {
            "id": new_id(),
            "version": 0,
            "user_id": user_id,
            "status": "pending",
            "subscription_id": subscription_id,
            "period_start": period[0],
            "period_end": period[1],
            "course_title": "",
            "amount_minor": 0,
            "currency": "XXX",  # ISO 4217 "no currency" until its first attempt quotes the price
            "created_at": at,
        }
        made = self._session.connection().scalar(_INSERT_ONCE, row)
        order = next(iter(self.list_for_subscriptions_for_update([subscription_id])), None)
        if order and made:
            order.add_history_entry("order_created", at=at)
        return order

    def list_for_subscriptions_for_update(self, subscription_ids: Collection[UUID]) -> list[Order]:
        """Return the pending orders of subscriptions, locked in the order of their ids; at most one of each."""
        theirs = _select_with_attempts().where(Order.subscription_id.in_(subscription_ids), Order.status == "pending")
        return list(self._session.scalars(theirs.order_by(Order.id).with_for_update(of=Order)))

    def get(self, order_id: UUID, *, user_id: UUID | None) -> Order:
        """Return an order without lock; ``user_id`` None means any. Raises NotFound, also for another user's order."""
        order = self._session.scalars(_WITH_ALL, {"order_id": order_id}).unique().one_or_none()
        if order is None or user_id not in (None, order.user_id):
            raise NotFound("order", str(order_id))
        return order

    def get_for_update(self, order_id: UUID, *, user_id: UUID | None = None) -> Order:
        """Return an order with its attempts, locked; ``user_id`` None means any.

        Raises NotFound, also for another user's order.
        """
        self._session.flush()  # what was changed before is written before the lock is taken
        owner_id = self._session.connection().scalar(_LOCK, {"order_id": order_id})
        if owner_id is None or user_id not in (None, owner_id):
            raise NotFound("order", str(order_id))
        return self._load_locked(order_id)

    def _load_locked(self, order_id: UUID) -> Order:
        """Load an order that this transaction has locked.

        A statement that waited for the lock would see the attempts and the redemption as they were before the wait.
        """
        return self._session.scalars(_WITH_ALL, {"order_id": order_id}).unique().one()

    def list_abandoned_for_update(self, *, at: datetime, limit: int) -> list[Order]:
        """Return and lock pending orders older than PENDING_ORDER_TTL that have no live attempt.

        Rows locked by other workers are skipped.
        """
        live = exists().where(
            PaymentAttempt.order_id == Order.id, PaymentAttempt.checkout_session_open | PaymentAttempt.status.in_(LIVE)
        )
        # The orders of a subscription expire with its own steps.
        of_courses = (Order.status == "pending") & Order.subscription_id.is_(None)
        old = _select_with_attempts().where(of_courses, Order.created_at <= at - PENDING_ORDER_TTL, ~live)
        return list(
            self._session.scalars(old.order_by(Order.id).limit(limit).with_for_update(of=Order, skip_locked=True))
        )

    def list_page(self, *, user_id: UUID, limit: int, after: UUID | None, status: str | None = None) -> list[Order]:
        """List the user's orders, newest first: ids rise with time. ``after`` is the last id of the previous page."""
        orders = _select_with_attempts().where(Order.user_id == user_id).order_by(Order.id.desc()).limit(limit)
        if status:
            orders = orders.where(Order.status == status)
        return list(self._session.scalars(orders.where(Order.id < after) if after else orders))

    def list_for_course(self, *, user_id: UUID, course_id: UUID, limit: int) -> list[Order]:
        """Return the user's orders of a course or of a bundle that contains it, newest first."""
        in_bundle = Order.bundle_courses.contains([{"course_id": str(course_id)}])
        theirs = _select_with_attempts().where(Order.user_id == user_id, (Order.course_id == course_id) | in_bundle)
        return list(self._session.scalars(theirs.order_by(Order.id.desc()).limit(limit)))

    def list_for_user_for_update(self, user_id: UUID) -> list[Order]:
        """Return all orders of a user with their attempts, oldest first, locked."""
        theirs = _select_with_attempts().where(Order.user_id == user_id)
        return list(self._session.scalars(theirs.order_by(Order.id).with_for_update(of=Order)))

    def competing_id(self, order: Order) -> UUID | None:
        """Return the id of another pending or paid order for the same period of the subscription of ``order``."""
        same = (Order.subscription_id == order.subscription_id) & (Order.period_start == order.period_start)
        open_or_paid = Order.status.not_in(("expired", "canceled"))
        return self._session.scalar(select(Order.id).where(same, open_or_paid, Order.id != order.id))

    def list_history(self, order: Order, *, limit: int, after: UUID | None) -> list[OrderHistoryEntry]:
        """List the steps of an order, oldest first. ``after`` is the id of the last step of the previous page."""
        steps = select(OrderHistoryEntry).where(OrderHistoryEntry.order_id == order.id)
        steps = steps.order_by(OrderHistoryEntry.id).limit(limit)
        return list(self._session.scalars(steps.where(OrderHistoryEntry.id > after) if after else steps))

    def has_history_entry(self, order: Order, step: str, *, at: datetime) -> bool:
        """Return whether the history of an order contains this step at this time."""
        noted = select(OrderHistoryEntry.id).where(OrderHistoryEntry.order_id == order.id)
        noted = noted.where(OrderHistoryEntry.step == step, OrderHistoryEntry.at == at)
        return self._session.scalars(noted.limit(1)).first() is not None


def _select_with_attempts() -> Select[Order]:
    # populate_existing: objects that the session loaded before it got the lock may be stale.
    whole = select(Order).options(selectinload(Order.attempts), joinedload(Order.redemption))
    return whole.execution_options(populate_existing=True)


# Built once: building a statement takes longer than executing it.
_INSERT_ONCE = insert(Order).on_conflict_do_nothing().returning(Order.id)
_LOCK = select(Order.user_id).where(Order.id == bindparam("order_id")).with_for_update()
_LOCK_PENDING = {
    kind: select(Order.id)
    .where(Order.user_id == bindparam("user_id"), sold_id == bindparam("sold_id"), Order.status == "pending")
    .with_for_update()
    for kind, sold_id in (("course", Order.course_id), ("bundle", Order.bundle_id))
}
_WITH_ALL = (
    select(Order)
    .where(Order.id == bindparam("order_id"))
    .options(joinedload(Order.attempts), joinedload(Order.redemption))
    .execution_options(populate_existing=True)  # objects that the session loaded before it got the lock may be stale
)
