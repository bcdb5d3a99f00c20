"""Queries for subscriptions. Only functions whose names say so lock rows.

To avoid deadlocks, the pending order of a subscription is always locked before the subscription.
"""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy import Text, cast, exists, func, select
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import Session

from core.db import new_id
from models.errors import AlreadySubscribed, NotFound, PaymentInProgress

from .order_repository import Orders
from .orders import Order
from .plans import Plan
from .subscriptions import INCOMPLETE_TTL, OPEN, Subscription


class Subscriptions:
    """The subscriptions of the session's database."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get_or_create_open(
        self, *, user_id: UUID, plan: Plan, provider: str, receipt_email: str | None, at: datetime
    ) -> Subscription:
        """Get or create the buyer's subscription to ``plan`` that needs a payment, locked.

        Raises AlreadySubscribed if it is active or will be canceled at the period end, PaymentInProgress if a
        concurrent transaction is ending the previous subscription.
        """
        row = {
            "id": new_id(),
            "version": 0,
            "user_id": user_id,
            "plan_id": plan.id,
            "status": "incomplete",
            "provider": provider,
            "plan_name": plan.name,
            "amount_minor": plan.amount_minor,
            "currency": plan.currency,
            "interval": plan.interval,
            "course_ids": plan.course_ids,
            "receipt_email": receipt_email,
            "anchor_at": at,
            "periods": 0,
            "period_start": at,
            "period_end": at,
            "had_trial": False,
            "trial_end_notified": False,
            "failed_charges": 0,
            "cancel_at_period_end": False,
            "next_step_at": at + INCOMPLETE_TTL,
            "created_at": at,
        }
        # Serialize the buyer's checkouts: two plans with a common course must not both start with a trial.
        self._session.execute(
            select(func.pg_advisory_xact_lock(func.hashtextextended(f"subscriptions of {user_id}", 0)))
        )
        self._session.execute(insert(Subscription).values(row).on_conflict_do_nothing())
        mine = select(Subscription.id).where(
            Subscription.user_id == user_id, Subscription.plan_id == plan.id, Subscription.status.in_(OPEN)
        )
        subscription_id = self._session.scalars(mine).one_or_none()
        if subscription_id is None:
            raise PaymentInProgress("plan", str(plan.id))  # a concurrent transaction is ending the previous one
        subscription, _order = self.get_for_update(subscription_id)
        if subscription.status == "active" or subscription.cancel_at_period_end:
            raise AlreadySubscribed(str(plan.id))
        if subscription.status == "incomplete":
            # A started subscription keeps its terms. Its provider changes in ``start_paid_period`` only: a session may
            # stay unpaid.
            subscription.apply_plan_terms(plan)
            subscription.provider, subscription.receipt_email = provider, receipt_email
        return subscription

    def get_for_update(self, subscription_id: UUID) -> tuple[Subscription, Order | None]:
        """Lock the pending order of a subscription, if any, then the subscription; returns both."""
        [found] = self.list_for_update([subscription_id])
        return found

    def list_for_update(self, subscription_ids: Collection[UUID]) -> list[tuple[Subscription, Order | None]]:
        """Lock the pending orders of subscriptions, then the subscriptions, each by id; returns them in pairs.

        Applying a payment takes the locks in the same order. If another transaction added a pending order between the
        locks, all are released by a savepoint and taken again.
        """
        wanted = (
            select(Subscription)
            .where(Subscription.id.in_(subscription_ids))
            .order_by(Subscription.id)
            .with_for_update()
        )
        pending = select(Order.id).where(Order.subscription_id.in_(subscription_ids), Order.status == "pending")
        while True:
            with self._session.begin_nested() as savepoint:
                orders = {
                    each.subscription_id: each
                    for each in Orders(self._session).list_for_subscriptions_for_update(subscription_ids)
                }
                found = self._session.scalars(wanted.execution_options(populate_existing=True)).all()
                if set(self._session.scalars(pending)) == {order.id for order in orders.values()}:
                    return [(each, orders.get(each.id)) for each in found]
                savepoint.rollback()

    def get(self, subscription_id: UUID, *, user_id: UUID) -> Subscription:
        """Return a user's subscription without lock. Raises NotFound, also for another user's subscription."""
        subscription = self._session.get(Subscription, subscription_id)
        if subscription is None or subscription.user_id != user_id:
            raise NotFound("subscription", str(subscription_id))
        return subscription

    def list_page(
        self, *, user_id: UUID, limit: int, after: UUID | None, status: str | None = None
    ) -> list[Subscription]:
        """List a user's started subscriptions, newest first. ``after`` is the last id of the previous page."""
        theirs = (
            select(Subscription)
            .where(Subscription.user_id == user_id, Subscription.status != "incomplete")
            .order_by(Subscription.id.desc())
        )
        if status:
            theirs = theirs.where(Subscription.status == status)
        return list(self._session.scalars((theirs.where(Subscription.id < after) if after else theirs).limit(limit)))

    def list_for_course(self, *, user_id: UUID, course_id: UUID, limit: int) -> list[Subscription]:
        """Return the user's subscriptions to plans with a course, newest first, also those that did not start."""
        theirs = select(Subscription).where(
            Subscription.user_id == user_id, Subscription.course_ids.contains([str(course_id)])
        )
        return list(self._session.scalars(theirs.order_by(Subscription.id.desc()).limit(limit)))

    def list_for_user(self, user_id: UUID, *, for_update: bool = False) -> list[Subscription]:
        """Return all subscriptions of a user, oldest first; locked if ``for_update``."""
        theirs = select(Subscription).where(Subscription.user_id == user_id).order_by(Subscription.id)
        return list(self._session.scalars(theirs.with_for_update() if for_update else theirs))

    def due(self, *, at: datetime, limit: int) -> list[UUID]:
        """Return the ids of subscriptions whose next step is due, without locking them."""
        due = (
            select(Subscription.id)
            .where(Subscription.next_step_at <= at)
            .order_by(Subscription.next_step_at)
            .limit(limit)
        )
        return list(self._session.scalars(due))

    def is_trial_eligible(self, subscription: Subscription, plan: Plan) -> bool:
        """Whether an incomplete subscription to ``plan`` starts with a trial.

        It does not if the buyer has had a trial of any plan that contains a course of this plan.
        """
        if not plan.trial_days or subscription.status != "incomplete":
            return False
        same = Subscription.course_ids.op("?|")(cast(plan.course_ids, ARRAY(Text)))
        return not self._session.scalar(
            select(exists().where(Subscription.user_id == subscription.user_id, Subscription.had_trial, same))
        )

    def replacement_of(self, subscription_id: UUID) -> UUID | None:
        """Return the id of the buyer's other open subscription to the same plan, or None. Locks nothing."""
        this = self._session.get_one(Subscription, subscription_id)
        others = (
            (Subscription.user_id == this.user_id)
            & (Subscription.plan_id == this.plan_id)
            & (Subscription.id != this.id)
        )
        return self._session.scalar(select(Subscription.id).where(others, Subscription.status.in_(OPEN)))
