"""Orders: what a buyer buys at which price, and the rules for paying, expiring and fulfilling an order once."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol, Self
from uuid import UUID

from sqlalchemy import Index, Select, exists, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, WriteOnlyMapped, joinedload, mapped_column, relationship, selectinload

from models.base import Aggregate, Base, new_id
from models.errors import NotFound, OrderClosed, PaymentInProgress, PaymentNotOfOrder
from models.events import Event, OrderCreated

from . import order_news as news
from .attempts import LIVE, Attempt, Snapshot, Terms
from .coupons import Redemption
from .goods import Goods
from .order_views import as_rows, order_view
from .steps import OrderStep

OrderStatus = Literal[
    "pending", "paid", "partially_refunded", "refunded", "disputed", "charged_back", "expired", "canceled"
]

# Statuses in which the buyer has access to what was bought.
OWNED = ("paid", "partially_refunded")
# A won dispute restores suspended access, so a disputed order also prevents a second purchase of the same goods.
NOT_SOLD_AGAIN = (*OWNED, "disputed")

# A pending order without a live attempt expires this long after its creation; until then the buyer may retry.
OPEN_FOR = timedelta(hours=24)


class Priced(Protocol):
    """Anything with a title and a price that an order can be quoted for: goods or a subscription."""

    @property
    def title(self) -> str: ...
    @property
    def amount_minor(self) -> int: ...
    @property
    def currency(self) -> str: ...


class Order(Aggregate, Base):
    """One purchase of a course, a bundle or a period of a subscription.

    Its attempts, refunds and disputes are changed only while the row of the order is locked.
    """

    __tablename__ = "orders"
    __table_args__ = (
        Index("ux_orders_open", "user_id", "course_id", unique=True, postgresql_where=text("status = 'pending'")),
        Index(
            "ux_orders_open_bundle", "user_id", "bundle_id", unique=True, postgresql_where=text("status = 'pending'")
        ),
        {"schema": "payments"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    status: Mapped[OrderStatus]
    # The goods and the price as of the last quote; exactly one of course_id, bundle_id and subscription_id is set.
    course_id: Mapped[UUID | None]
    bundle_id: Mapped[UUID | None]
    bundle_courses: Mapped[list[dict[str, Any]] | None]  # [{"course_id", "title"}]
    subscription_id: Mapped[UUID | None]
    period_start: Mapped[datetime | None]
    period_end: Mapped[datetime | None]
    course_title: Mapped[str]
    amount_minor: Mapped[int]
    currency: Mapped[str]
    created_at: Mapped[datetime]
    paid_at: Mapped[datetime | None]

    attempts: Mapped[list[Attempt]] = relationship(lazy="raise", back_populates="order", order_by=Attempt.created_at)
    redemption: Mapped[Redemption | None] = relationship(lazy="raise", cascade="all, delete-orphan")
    steps: WriteOnlyMapped[OrderStep] = relationship(order_by=OrderStep.id)

    @classmethod
    def open(cls, session: Session, *, user_id: UUID, goods: Goods, at: datetime) -> tuple[Self | None, bool]:
        """Get or create the buyer's pending order for ``goods`` and lock it; also return whether it was created.

        The order is None if a concurrent transaction closed it between the insert and the lock.
        """
        row = {
            "id": new_id(),
            "version": 0,
            "user_id": user_id,
            "status": "pending",
            f"{goods.kind}_id": goods.id,
            "course_title": goods.title,
            "amount_minor": goods.amount_minor,
            "currency": goods.currency,
            "created_at": at,
        }
        if goods.bundle_id:
            row["bundle_courses"] = as_rows(goods.courses)
        made = session.scalar(insert(cls).values(row).on_conflict_do_nothing().returning(cls.id))
        mine = (cls.user_id == user_id) & (getattr(cls, f"{goods.kind}_id") == goods.id)
        order = session.scalars(cls._whole().where(mine, cls.status == "pending").with_for_update(of=cls)).one_or_none()
        return order, made is not None

    @classmethod
    def for_period(
        cls, session: Session, *, user_id: UUID, subscription_id: UUID, period: tuple[datetime, datetime], at: datetime
    ) -> Self | None:
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
        made = session.scalar(insert(cls).values(row).on_conflict_do_nothing().returning(cls.id))
        order = next(iter(cls.locked_of_subscriptions(session, [subscription_id])), None)
        if order and made:
            order.note("order_created", at=at)
        return order

    @classmethod
    def locked_of_subscriptions(cls, session: Session, subscription_ids: Collection[UUID]) -> list[Self]:
        """Return the pending orders of subscriptions, locked in the order of their ids; at most one of each."""
        theirs = cls._whole().where(cls.subscription_id.in_(subscription_ids), cls.status == "pending")
        return list(session.scalars(theirs.order_by(cls.id).with_for_update(of=cls)))

    @classmethod
    def of(cls, session: Session, order_id: UUID, *, user_id: UUID | None) -> Self:
        """Return an order without lock; ``user_id`` None means any. Raises NotFound, also for another user's order."""
        order = session.scalars(cls._whole().where(cls.id == order_id)).one_or_none()
        if order is None or user_id not in (None, order.user_id):
            raise NotFound("order", str(order_id))
        return order

    @classmethod
    def locked_of(cls, session: Session, order_id: UUID, *, user_id: UUID) -> Self:
        """Return a user's order with its attempts, locked. Raises NotFound, also for another user's order."""
        wanted = cls._whole().where(cls.id == order_id, cls.user_id == user_id).with_for_update(of=cls)
        order = session.scalars(wanted).one_or_none()
        if order is None:
            raise NotFound("order", str(order_id))
        return order

    @classmethod
    def given_up(cls, session: Session, *, at: datetime, limit: int) -> list[Self]:
        """Return and lock pending orders older than OPEN_FOR that have no live attempt.

        Rows locked by other workers are skipped.
        """
        live = exists().where(Attempt.order_id == cls.id, Attempt.page_open | Attempt.status.in_(LIVE))
        # The orders of a subscription expire with its own steps.
        of_courses = (cls.status == "pending") & cls.subscription_id.is_(None)
        old = cls._whole().where(of_courses, cls.created_at <= at - OPEN_FOR, ~live)
        return list(session.scalars(old.order_by(cls.id).limit(limit).with_for_update(of=cls, skip_locked=True)))

    @classmethod
    def page(cls, session: Session, *, user_id: UUID, limit: int, after: UUID | None) -> list[Self]:
        """List the user's orders, newest first: ids rise with time. ``after`` is the last id of the previous page."""
        orders = cls._whole().where(cls.user_id == user_id).order_by(cls.id.desc()).limit(limit)
        return list(session.scalars(orders.where(cls.id < after) if after else orders))

    @classmethod
    def all_of(cls, session: Session, user_id: UUID) -> list[Self]:
        """Return all orders of a user with their attempts, oldest first, locked."""
        theirs = cls._whole().where(cls.user_id == user_id)
        return list(session.scalars(theirs.order_by(cls.id).with_for_update(of=cls)))

    @classmethod
    def locked(cls, session: Session, order_id: UUID) -> Self:
        """Return an order with its attempts, locked. The order must exist."""
        return session.scalars(cls._whole().where(cls.id == order_id).with_for_update(of=cls)).one()

    @classmethod
    def find_locked(cls, session: Session, order_id: UUID) -> Self:
        """Return an order named by a caller, of any user, locked. Raises NotFound."""
        cls.of(session, order_id, user_id=None)
        return cls.locked(session, order_id)

    @classmethod
    def _whole(cls) -> Select[Self]:
        # populate_existing: objects that the session loaded before it got the lock may be stale.
        whole = select(cls).options(selectinload(cls.attempts), joinedload(cls.redemption))
        return whole.execution_options(populate_existing=True)

    def rival_id(self, session: Session) -> UUID | None:
        """Return the id of another pending or paid order for the same period of the subscription."""
        cls = type(self)
        same = (cls.subscription_id == self.subscription_id) & (cls.period_start == self.period_start)
        open_or_paid = cls.status.not_in(("expired", "canceled"))
        return session.scalar(select(cls.id).where(same, open_or_paid, cls.id != self.id))

    def replace_pending(self, session: Session, *, at: datetime) -> None:
        """Expire the pending order for the same period, because late money for this order pays that period.

        The pending order stays open while it has a live attempt.
        """
        if self.subscription_id and (rival_id := self.rival_id(session)):
            self.locked(session, rival_id).expire(at=at)
            session.flush()

    @property
    def courses(self) -> dict[UUID, str]:
        """Return the titles of the purchased courses by course id; empty for a subscription."""
        if self.course_id:
            return {self.course_id: self.course_title}
        return {UUID(each["course_id"]): each["title"] for each in self.bundle_courses or []}

    @property
    def live_attempt(self) -> Attempt | None:
        """Return the attempt that may still bring money. A unique index prevents a second one."""
        return next((attempt for attempt in self.attempts if attempt.is_live), None)

    def attempt(self, attempt_id: UUID) -> Attempt:
        return next(attempt for attempt in self.attempts if attempt.id == attempt_id)

    def payment(self, payment_id: UUID) -> Attempt:
        """Return the attempt that a caller named. Raises PaymentNotOfOrder."""
        payment = next((attempt for attempt in self.attempts if attempt.id == payment_id), None)
        if payment is None:
            raise PaymentNotOfOrder(str(self.id), str(payment_id))
        return payment

    def created(self, provider: str) -> OrderCreated:
        self.note("order_created", at=self.created_at)
        return news.created(self, provider)

    def begin(self, goods: Priced, terms: Terms, *, open_for: timedelta, at: datetime) -> Attempt:
        """Quote the current price and add an attempt. A checkout session that is open already keeps its price."""
        self.quote(goods, at=at)
        attempt = Attempt.begin(terms, open_for=open_for, at=at)
        self.attempts.append(attempt)
        self.note("payment_begun", at=at, attempt=attempt)
        return attempt

    def quote(self, goods: Priced, *, at: datetime) -> None:
        """Set the current title and price, and reserve the coupon that the price includes."""
        self.course_title = goods.title
        self.amount_minor = goods.amount_minor
        self.currency = goods.currency
        if not isinstance(goods, Goods):
            return
        if goods.bundle_id:
            self.bundle_courses = as_rows(goods.courses)
        held = Redemption.of(goods.discount, user_id=self.user_id, at=at) if goods.discount else None
        if held and self.redemption:
            self.redemption.take_over(held)
        else:
            self.redemption = held

    def let_coupon_go(self) -> None:
        """Release the coupon of a pending order without a live attempt, so that other buyers can use it.

        The next checkout may reserve it again.
        """
        if self.redemption and self.status == "pending" and not self.live_attempt:
            self.amount_minor += self.redemption.discount_minor
            self.redemption = None

    def give_away(self, *, at: datetime) -> list[Event]:
        """Fulfil an order that costs nothing."""
        return self._fulfil(at)

    def apply(self, attempt: Attempt, snapshot: Snapshot, *, wanted: bool = True, at: datetime) -> list[Event]:
        """Apply the provider's state of ``attempt``; returns the events to publish.

        A success is final, and a late success overrides any other final status. Money that is not ``wanted`` (see
        ``ownership.reason_to_return``) does not pay the order: the attempt becomes a duplicate.
        """
        before = attempt.status
        events = self._follow(attempt, snapshot, at, wanted=wanted)
        if not attempt.superseded:
            self.let_coupon_go()
        if attempt.status != before:
            self.note(f"payment_{attempt.status}", at=at, attempt=attempt, detail=attempt.problem)
        if attempt.follow_receipt(snapshot, at=at):
            self.note("receipt_canceled", at=at, attempt=attempt)
        return events

    def accept(self, attempt: Attempt, snapshot: Snapshot, *, wanted: bool, at: datetime) -> list[Event]:
        """Accept a payment in review with the captured amount. It pays the order unless it is not ``wanted``."""
        attempt.accept(snapshot)
        return self._take_money(attempt, at, wanted=wanted)

    def wants(self, attempt: Attempt) -> bool | None:
        """Decide about authorized money: True to capture it, False to void it, None if an operator has to decide."""
        if attempt.status == "review":
            return None
        return attempt.status == "authorized" and self.status == "pending" and not attempt.superseded

    def cancel(self, *, at: datetime) -> list[Event]:
        """Cancel the order. Raises OrderClosed if it was paid or expired, PaymentInProgress if an attempt is live."""
        if self.status == "canceled":
            return []
        if self.status != "pending":
            raise OrderClosed(self.status)
        if self.live_attempt:
            raise PaymentInProgress("order", str(self.id))
        self.status = "canceled"
        self.redemption = None
        self.note("order_canceled", at=at)
        if not self.courses:
            return []
        return [news.canceled(self, at)]

    def expire(self, *, at: datetime) -> list[Event]:
        """Expire a pending order without a live attempt; otherwise do nothing."""
        if self.status != "pending" or self.live_attempt:
            return []
        self.status = "expired"
        self.redemption = None
        self.note("order_expired", at=at)
        if not self.courses:
            return []
        return [news.expired(self, at)]

    def note(self, step: str, *, at: datetime, attempt: Attempt | None = None, detail: str | None = None) -> None:
        """Add a step to the order's history."""
        about = {"payment_id": attempt.id, "provider": attempt.provider} if attempt else {}
        self.steps.add(OrderStep(id=new_id(), step=step, at=at, detail=detail, **about))

    def has_step(self, session: Session, step: str, *, at: datetime) -> bool:
        """Return whether the order's history contains this step at this time."""
        noted = self.steps.select().where(OrderStep.step == step, OrderStep.at == at)
        return session.scalars(noted.limit(1)).first() is not None

    def _follow(self, attempt: Attempt, snapshot: Snapshot, at: datetime, *, wanted: bool) -> list[Event]:
        if not attempt.heeds(snapshot):
            if snapshot.is_final:
                attempt.rest()
            return []
        if mismatches := attempt.mismatches(snapshot):
            attempt.hold_for_review(mismatches, snapshot)
            return []
        attempt.follow(snapshot, at=at)
        if attempt.status == "succeeded":
            return self._take_money(attempt, at, wanted=wanted)
        if attempt.status == "failed":
            return self._tell_failure(attempt, at)
        if attempt.status in {"expired", "canceled"} and not attempt.superseded:
            return self.expire(at=at)
        return []

    def _take_money(self, attempt: Attempt, at: datetime, *, wanted: bool) -> list[Event]:
        if self.paid_at or not wanted:
            attempt.status = "duplicate"
            return self.expire(at=at)
        # The checkout session was opened at an earlier price, so the coupon of the latest quote was not used.
        if attempt.amount_minor != self.amount_minor:
            self.redemption = None
        self.amount_minor, self.currency = attempt.captured_minor, attempt.money_currency
        return [news.paid(self, attempt, at), *self._fulfil(at)]

    def _fulfil(self, at: datetime) -> list[Event]:
        self.status = "paid"
        self.paid_at = at
        self.note("order_paid", at=at)
        return list(news.purchased(self, at))

    def _tell_failure(self, attempt: Attempt, at: datetime) -> list[Event]:
        if attempt.failed_at:
            return []  # published once per attempt: the checkout session shows the buyer each further decline
        attempt.failed_at = at
        return [news.failed(self, attempt, at)]

    def timeline(self, session: Session, *, limit: int, after: UUID | None) -> list[OrderStep]:
        """List the steps of the order, oldest first. ``after`` is the id of the last step of the previous page."""
        steps = self.steps.select().limit(limit)
        return list(session.scalars(steps.where(OrderStep.id > after) if after else steps))

    @property
    def paid_by(self) -> Attempt | None:
        """Return the attempt that paid the order. Duplicate payments never belong to the order."""
        return next((attempt for attempt in self.attempts if attempt.status == "succeeded"), None)

    @property
    def is_owned(self) -> bool:
        """Whether the buyer has access to what was bought."""
        return self.status in OWNED

    @property
    def is_fully_reversed(self) -> bool:
        """Whether the whole captured amount was refunded or charged back, in any combination."""
        return self.paid_by is not None and self.paid_by.reversed_minor >= self.paid_by.captured_minor

    def weigh_money(self) -> None:
        """Recalculate the status from the captured, refunded and disputed amounts."""
        payment = self.paid_by
        if payment is None:
            return
        if payment.disputed_minor:
            self.status = "disputed"  # also if only a part is disputed: the bank has not decided
        elif self.is_fully_reversed:
            self.status = "charged_back" if payment.charged_back_minor else "refunded"
        else:
            self.status = "partially_refunded" if payment.reversed_minor else "paid"

    def view(self) -> dict[str, Any]:
        """Return the representation in GET /v1/orders/{id}."""
        return order_view(self)
