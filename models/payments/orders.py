"""Orders: what a buyer buys at which price, and the rules for paying, expiring and fulfilling an order once."""

from datetime import datetime, timedelta
from typing import Any, Literal, Protocol
from uuid import UUID

from sqlalchemy import Index, text
from sqlalchemy.orm import Mapped, mapped_column, object_session, relationship

from core.db import Aggregate, Base
from models.errors import OrderClosed, PaymentInProgress, PaymentOrderMismatch
from models.events import (
    CoursePurchased,
    Event,
    OrderCanceled,
    OrderCreated,
    OrderExpired,
    PaymentFailed,
    PaymentSucceeded,
)

from .coupons import Redemption
from .invoices import Invoice
from .order_history import OrderHistoryEntry
from .payment_attempts import PaymentAttempt
from .payment_snapshots import PaymentSnapshot, PaymentTerms
from .quote import PurchaseQuote

OrderStatus = Literal[
    "pending", "paid", "partially_refunded", "refunded", "disputed", "charged_back", "expired", "canceled"
]

# Statuses in which the buyer has access to what was bought.
GRANTS_ACCESS = ("paid", "partially_refunded")
# A won dispute restores suspended access, so a disputed order also prevents a second purchase of the same goods.
BLOCKS_REPURCHASE = (*GRANTS_ACCESS, "disputed")


class Priced(Protocol):
    """Anything with a title and a price that an order can be quoted for: a purchase quote or a subscription."""

    @property
    def title(self) -> str: ...
    @property
    def amount_minor(self) -> int: ...
    @property
    def currency(self) -> str: ...


def as_rows(courses: dict[UUID, str]) -> list[dict[str, Any]]:
    """Return the courses of a bundle as JSON rows."""
    return [{"course_id": str(course_id), "title": title} for course_id, title in courses.items()]


def from_rows(rows: list[dict[str, Any]] | None) -> dict[UUID, str]:
    """Return the titles of the courses of a bundle by course id; empty for None."""
    return {UUID(each["course_id"]): each["title"] for each in rows or []}


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

    attempts: Mapped[list[PaymentAttempt]] = relationship(lazy="raise", order_by=PaymentAttempt.created_at)
    redemption: Mapped[Redemption | None] = relationship(lazy="raise", cascade="all, delete-orphan")

    @property
    def courses(self) -> dict[UUID, str]:
        """Return the titles of the purchased courses by course id; empty for a subscription."""
        if self.course_id:
            return {self.course_id: self.course_title}
        return from_rows(self.bundle_courses)

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
        return OrderCreated(
            order_id=self.id,
            user_id=self.user_id,
            **self._course_fields,
            amount_minor=self.amount_minor,
            currency=self.currency,
            provider=provider,
            created_at=self.created_at,
            description=self.course_title,
        )

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
        return [OrderCanceled(order_id=self.id, user_id=self.user_id, **self._course_fields, canceled_at=at)]

    def expire(self, *, at: datetime) -> list[Event]:
        """Expire a pending order without a live attempt; otherwise do nothing."""
        if self.status != "pending" or self.live_attempt:
            return []
        self.status = "expired"
        self.redemption = None
        self.add_history_entry("order_expired", at=at)
        if not self.courses:
            return []
        return [OrderExpired(order_id=self.id, user_id=self.user_id, **self._course_fields, expired_at=at)]

    def add_history_entry(
        self, step: str, *, at: datetime, attempt: PaymentAttempt | None = None, detail: str | None = None
    ) -> None:
        """Add a step to the history of the order, which a session has loaded."""
        session = object_session(self)
        assert session is not None
        OrderHistoryEntry.insert(
            session,
            self.id,
            step,
            payment_id=attempt.id if attempt else None,
            provider=attempt.provider if attempt else None,
            detail=detail,
            at=at,
        )

    def add_invoice(self, *, at: datetime) -> None:
        """Add the invoice of the order, which is numbered later."""
        session = object_session(self)
        assert session is not None
        Invoice.add(
            session,
            order_id=self.id,
            user_id=self.user_id,
            amount_minor=self.amount_minor,
            currency=self.currency,
            at=at,
        )

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
        self.add_invoice(at=at)
        paid = PaymentSucceeded(
            order_id=self.id,
            payment_id=attempt.id,
            user_id=self.user_id,
            description=self.course_title,
            amount_minor=attempt.captured_minor,
            currency=attempt.money_currency,
            provider=attempt.provider,
            paid_at=at,
            course_ids=list(self.courses),
        )
        return [paid, *self._fulfil(at)]

    def _fulfil(self, at: datetime) -> list[Event]:
        """Mark the order as paid; return one event per course.

        An order of a subscription returns none: the subscription publishes its own events.
        """
        self.status = "paid"
        self.paid_at = at
        self.add_history_entry("order_paid", at=at)
        return [
            CoursePurchased(
                order_id=self.id, user_id=self.user_id, course_id=course_id, course_title=title, purchased_at=at
            )
            for course_id, title in self.courses.items()
        ]

    def _failure_events(self, attempt: PaymentAttempt, at: datetime) -> list[Event]:
        if attempt.failed_at:
            return []  # published once per attempt: the checkout session shows the buyer each further decline
        attempt.failed_at = at
        failed = PaymentFailed(
            order_id=self.id,
            payment_id=attempt.id,
            user_id=self.user_id,
            description=self.course_title,
            provider=attempt.provider,
            reason=attempt.problem or "declined",
            failed_at=at,
        )
        return [failed]

    @property
    def _course_fields(self) -> dict[str, Any]:
        """The course fields of the events. ``course_id`` is for consumers older than ``course_ids``."""
        return {"course_id": next(iter(self.courses)), "course_ids": list(self.courses)}

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
