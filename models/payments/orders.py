"""Orders: what a buyer buys at which price, and the rules for paying, expiring and fulfilling an order once."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol, Self
from uuid import UUID

from sqlalchemy import Index, Select, exists, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, WriteOnlyMapped, joinedload, mapped_column, relationship, selectinload

from core.db import Aggregate, Base, new_id
from models.errors import NotFound, OrderClosed, PaymentInProgress, PaymentOrderMismatch
from models.events import Event, OrderCreated

from . import order_events as events
from .coupons import Redemption
from .order_history import OrderHistoryEntry
from .order_responses import as_rows, order_response
from .payment_attempts import LIVE, PaymentAttempt, PaymentSnapshot, PaymentTerms
from .quote import PurchaseQuote

OrderStatus = Literal[
    "pending", "paid", "partially_refunded", "refunded", "disputed", "charged_back", "expired", "canceled"
]

# Statuses in which the buyer has access to what was bought.
GRANTS_ACCESS = ("paid", "partially_refunded")
# A won dispute restores suspended access, so a disputed order also prevents a second purchase of the same goods.
BLOCKS_REPURCHASE = (*GRANTS_ACCESS, "disputed")

# A pending order without a live attempt expires this long after its creation; until then the buyer may retry.
PENDING_ORDER_TTL = timedelta(hours=24)


class Priced(Protocol):
    """Anything with a title and a price that an order can be quoted for: a purchase quote or a subscription."""

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

    attempts: Mapped[list[PaymentAttempt]] = relationship(
        lazy="raise", back_populates="order", order_by=PaymentAttempt.created_at
    )
    redemption: Mapped[Redemption | None] = relationship(lazy="raise", cascade="all, delete-orphan")
    history: WriteOnlyMapped[OrderHistoryEntry] = relationship(order_by=OrderHistoryEntry.id)

    @classmethod
    def get_or_create_pending(
        cls, session: Session, *, user_id: UUID, quote: PurchaseQuote, at: datetime
    ) -> tuple[Self | None, bool]:
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
        made = session.scalar(insert(cls).values(row).on_conflict_do_nothing().returning(cls.id))
        mine = (cls.user_id == user_id) & (getattr(cls, f"{quote.kind}_id") == quote.id)
        order = session.scalars(
            cls._select_with_attempts().where(mine, cls.status == "pending").with_for_update(of=cls)
        ).one_or_none()
        return order, made is not None

    @classmethod
    def get_or_create_for_period(
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
            order.add_history_entry("order_created", at=at)
        return order

    @classmethod
    def locked_of_subscriptions(cls, session: Session, subscription_ids: Collection[UUID]) -> list[Self]:
        """Return the pending orders of subscriptions, locked in the order of their ids; at most one of each."""
        theirs = cls._select_with_attempts().where(cls.subscription_id.in_(subscription_ids), cls.status == "pending")
        return list(session.scalars(theirs.order_by(cls.id).with_for_update(of=cls)))

    @classmethod
    def get(cls, session: Session, order_id: UUID, *, user_id: UUID | None) -> Self:
        """Return an order without lock; ``user_id`` None means any. Raises NotFound, also for another user's order."""
        order = session.scalars(cls._select_with_attempts().where(cls.id == order_id)).one_or_none()
        if order is None or user_id not in (None, order.user_id):
            raise NotFound("order", str(order_id))
        return order

    @classmethod
    def get_of_user_for_update(cls, session: Session, order_id: UUID, *, user_id: UUID) -> Self:
        """Return a user's order with its attempts, locked. Raises NotFound, also for another user's order."""
        wanted = cls._select_with_attempts().where(cls.id == order_id, cls.user_id == user_id).with_for_update(of=cls)
        order = session.scalars(wanted).one_or_none()
        if order is None:
            raise NotFound("order", str(order_id))
        return order

    @classmethod
    def list_abandoned(cls, session: Session, *, at: datetime, limit: int) -> list[Self]:
        """Return and lock pending orders older than PENDING_ORDER_TTL that have no live attempt.

        Rows locked by other workers are skipped.
        """
        live = exists().where(
            PaymentAttempt.order_id == cls.id, PaymentAttempt.checkout_session_open | PaymentAttempt.status.in_(LIVE)
        )
        # The orders of a subscription expire with its own steps.
        of_courses = (cls.status == "pending") & cls.subscription_id.is_(None)
        old = cls._select_with_attempts().where(of_courses, cls.created_at <= at - PENDING_ORDER_TTL, ~live)
        return list(session.scalars(old.order_by(cls.id).limit(limit).with_for_update(of=cls, skip_locked=True)))

    @classmethod
    def list_page(cls, session: Session, *, user_id: UUID, limit: int, after: UUID | None) -> list[Self]:
        """List the user's orders, newest first: ids rise with time. ``after`` is the last id of the previous page."""
        orders = cls._select_with_attempts().where(cls.user_id == user_id).order_by(cls.id.desc()).limit(limit)
        return list(session.scalars(orders.where(cls.id < after) if after else orders))

    @classmethod
    def list_for_user_for_update(cls, session: Session, user_id: UUID) -> list[Self]:
        """Return all orders of a user with their attempts, oldest first, locked."""
        theirs = cls._select_with_attempts().where(cls.user_id == user_id)
        return list(session.scalars(theirs.order_by(cls.id).with_for_update(of=cls)))

    @classmethod
    def get_for_update(cls, session: Session, order_id: UUID) -> Self:
        """Return an order with its attempts, locked. The order must exist."""
        return session.scalars(cls._select_with_attempts().where(cls.id == order_id).with_for_update(of=cls)).one()

    @classmethod
    def get_for_update_or_raise(cls, session: Session, order_id: UUID) -> Self:
        """Return an order named by a caller, of any user, locked. Raises NotFound."""
        cls.get(session, order_id, user_id=None)
        return cls.get_for_update(session, order_id)

    @classmethod
    def _select_with_attempts(cls) -> Select[Self]:
        # populate_existing: objects that the session loaded before it got the lock may be stale.
        whole = select(cls).options(selectinload(cls.attempts), joinedload(cls.redemption))
        return whole.execution_options(populate_existing=True)

    def competing_order_id(self, session: Session) -> UUID | None:
        """Return the id of another pending or paid order for the same period of the subscription."""
        cls = type(self)
        same = (cls.subscription_id == self.subscription_id) & (cls.period_start == self.period_start)
        open_or_paid = cls.status.not_in(("expired", "canceled"))
        return session.scalar(select(cls.id).where(same, open_or_paid, cls.id != self.id))

    def expire_competing_order(self, session: Session, *, at: datetime) -> None:
        """Expire the pending order for the same period, because late money for this order pays that period.

        The pending order stays open while it has a live attempt.
        """
        if self.subscription_id and (competing_order_id := self.competing_order_id(session)):
            self.get_for_update(session, competing_order_id).expire(at=at)
            session.flush()

    @property
    def courses(self) -> dict[UUID, str]:
        """Return the titles of the purchased courses by course id; empty for a subscription."""
        if self.course_id:
            return {self.course_id: self.course_title}
        return {UUID(each["course_id"]): each["title"] for each in self.bundle_courses or []}

    @property
    def live_attempt(self) -> PaymentAttempt | None:
        """Return the attempt that may still bring money. A unique index prevents a second one."""
        return next((attempt for attempt in self.attempts if attempt.is_live), None)

    def attempt(self, attempt_id: UUID) -> PaymentAttempt:
        return next(attempt for attempt in self.attempts if attempt.id == attempt_id)

    def payment(self, payment_id: UUID) -> PaymentAttempt:
        """Return the attempt that a caller named. Raises PaymentOrderMismatch."""
        payment = next((attempt for attempt in self.attempts if attempt.id == payment_id), None)
        if payment is None:
            raise PaymentOrderMismatch(str(self.id), str(payment_id))
        return payment

    def created_event(self, provider: str) -> OrderCreated:
        self.add_history_entry("order_created", at=self.created_at)
        return events.created(self, provider)

    def start_attempt(self, item: Priced, terms: PaymentTerms, *, ttl: timedelta, at: datetime) -> PaymentAttempt:
        """Quote the current price and add an attempt. A checkout session that is open already keeps its price."""
        self.apply_quote(item, at=at)
        attempt = PaymentAttempt.create(terms, ttl=ttl, at=at)
        self.attempts.append(attempt)
        self.add_history_entry("payment_started", at=at, attempt=attempt)
        return attempt

    def apply_quote(self, item: Priced, *, at: datetime) -> None:
        """Set the current title and price, and reserve the coupon that the price includes."""
        self.course_title = item.title
        self.amount_minor = item.amount_minor
        self.currency = item.currency
        if not isinstance(item, PurchaseQuote):
            return
        if item.bundle_id:
            self.bundle_courses = as_rows(item.courses)
        redemption = Redemption.create(item.discount, user_id=self.user_id, at=at) if item.discount else None
        if redemption and self.redemption:
            self.redemption.replace_with(redemption)
        else:
            self.redemption = redemption

    def release_coupon(self) -> None:
        """Release the coupon of a pending order without a live attempt, so that other buyers can use it.

        The next checkout may reserve it again.
        """
        if self.redemption and self.status == "pending" and not self.live_attempt:
            self.amount_minor += self.redemption.discount_minor
            self.redemption = None

    def fulfil_free(self, *, at: datetime) -> list[Event]:
        """Fulfil an order that costs nothing."""
        return self._fulfil(at)

    def apply(
        self, attempt: PaymentAttempt, snapshot: PaymentSnapshot, *, pays_order: bool = True, at: datetime
    ) -> list[Event]:
        """Apply the provider's state of ``attempt``; returns the events to publish.

        A success is final, and a late success overrides any other final status. Money without ``pays_order`` (see
        ``ownership.find_refund_reason``) does not pay the order: the attempt becomes a duplicate.
        """
        before = attempt.status
        events = self._apply_snapshot(attempt, snapshot, at, pays_order=pays_order)
        if not attempt.superseded:
            self.release_coupon()
        if attempt.status != before:
            self.add_history_entry(f"payment_{attempt.status}", at=at, attempt=attempt, detail=attempt.problem)
        if attempt.apply_receipt(snapshot, at=at):
            self.add_history_entry("receipt_canceled", at=at, attempt=attempt)
        return events

    def accept_from_review(
        self, attempt: PaymentAttempt, snapshot: PaymentSnapshot, *, pays_order: bool, at: datetime
    ) -> list[Event]:
        """Accept a payment in review with the captured amount. It pays the order if ``pays_order`` is set."""
        attempt.accept_from_review(snapshot)
        return self._mark_paid(attempt, at, pays_order=pays_order)

    def should_capture(self, attempt: PaymentAttempt) -> bool | None:
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
        self.add_history_entry("order_canceled", at=at)
        if not self.courses:
            return []
        return [events.canceled(self, at)]

    def expire(self, *, at: datetime) -> list[Event]:
        """Expire a pending order without a live attempt; otherwise do nothing."""
        if self.status != "pending" or self.live_attempt:
            return []
        self.status = "expired"
        self.redemption = None
        self.add_history_entry("order_expired", at=at)
        if not self.courses:
            return []
        return [events.expired(self, at)]

    def add_history_entry(
        self, step: str, *, at: datetime, attempt: PaymentAttempt | None = None, detail: str | None = None
    ) -> None:
        """Add a step to the order's history."""
        about = {"payment_id": attempt.id, "provider": attempt.provider} if attempt else {}
        self.history.add(OrderHistoryEntry(id=new_id(), step=step, at=at, detail=detail, **about))

    def has_history_entry(self, session: Session, step: str, *, at: datetime) -> bool:
        """Return whether the order's history contains this step at this time."""
        noted = self.history.select().where(OrderHistoryEntry.step == step, OrderHistoryEntry.at == at)
        return session.scalars(noted.limit(1)).first() is not None

    def _apply_snapshot(
        self, attempt: PaymentAttempt, snapshot: PaymentSnapshot, at: datetime, *, pays_order: bool
    ) -> list[Event]:
        if not attempt.accepts(snapshot):
            if snapshot.is_final:
                attempt.stop_polling()
            return []
        if mismatches := attempt.mismatches(snapshot):
            attempt.mark_for_review(mismatches, snapshot)
            return []
        attempt.apply(snapshot, at=at)
        if attempt.status == "succeeded":
            return self._mark_paid(attempt, at, pays_order=pays_order)
        if attempt.status == "failed":
            return self._failure_events(attempt, at)
        if attempt.status in {"expired", "canceled"} and not attempt.superseded:
            return self.expire(at=at)
        return []

    def _mark_paid(self, attempt: PaymentAttempt, at: datetime, *, pays_order: bool) -> list[Event]:
        if self.paid_at or not pays_order:
            attempt.status = "duplicate"
            return self.expire(at=at)
        # The checkout session was opened at an earlier price, so the coupon of the latest quote was not used.
        if attempt.amount_minor != self.amount_minor:
            self.redemption = None
        self.amount_minor, self.currency = attempt.captured_minor, attempt.money_currency
        return [events.paid(self, attempt, at), *self._fulfil(at)]

    def _fulfil(self, at: datetime) -> list[Event]:
        self.status = "paid"
        self.paid_at = at
        self.add_history_entry("order_paid", at=at)
        return list(events.purchased(self, at))

    def _failure_events(self, attempt: PaymentAttempt, at: datetime) -> list[Event]:
        if attempt.failed_at:
            return []  # published once per attempt: the checkout session shows the buyer each further decline
        attempt.failed_at = at
        return [events.failed(self, attempt, at)]

    def list_history(self, session: Session, *, limit: int, after: UUID | None) -> list[OrderHistoryEntry]:
        """List the steps of the order, oldest first. ``after`` is the id of the last step of the previous page."""
        steps = self.history.select().limit(limit)
        return list(session.scalars(steps.where(OrderHistoryEntry.id > after) if after else steps))

    @property
    def successful_attempt(self) -> PaymentAttempt | None:
        """Return the attempt that paid the order. Duplicate payments never belong to the order."""
        return next((attempt for attempt in self.attempts if attempt.status == "succeeded"), None)

    @property
    def grants_access(self) -> bool:
        """Whether the buyer has access to what was bought."""
        return self.status in GRANTS_ACCESS

    @property
    def is_fully_reversed(self) -> bool:
        """Whether the whole captured amount was refunded or charged back, in any combination."""
        return (
            self.successful_attempt is not None
            and self.successful_attempt.reversed_minor >= self.successful_attempt.captured_minor
        )

    def recalculate_status(self) -> None:
        """Recalculate the status from the captured, refunded and disputed amounts."""
        payment = self.successful_attempt
        if payment is None:
            return
        if payment.disputed_minor:
            self.status = "disputed"  # also if only a part is disputed: the bank has not decided
        elif self.is_fully_reversed:
            self.status = "charged_back" if payment.charged_back_minor else "refunded"
        else:
            self.status = "partially_refunded" if payment.reversed_minor else "paid"

    def to_response(self) -> dict[str, Any]:
        """Return the representation in GET /v1/orders/{id}."""
        return order_response(self)
