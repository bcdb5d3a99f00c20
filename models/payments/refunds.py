"""Refunds: a row is committed before the provider is called, and its id is the idempotency key of that call."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Self
from uuid import UUID, uuid5

from sqlalchemy import ColumnElement, ForeignKey, UniqueConstraint, select
from sqlalchemy.orm import Mapped, Session, mapped_column, object_session

from core.db import Base, PrivateText, new_id
from models.errors import NotFound, OrderNotPaid, PaymentInReview, RefundTooLarge
from models.events import PaymentRefunded, RefundReversed

from .invoices import Invoice
from .orders import Order
from .payment_attempts import PaymentAttempt

RefundStatus = Literal[
    "created",  # committed before the provider is called; the call may have been made or not
    "unknown",  # the outcome of the call is unknown (timeout, error): never treated as a failure
    "pending",  # the provider accepted it, the buyer's bank has not received it
    "review",  # the provider's object does not match the row: an operator has to decide
    "succeeded",
    "failed",  # no money was returned
]

# The counter of the attempt that includes a refund of this status.
_COUNTERS: dict[RefundStatus, str | None] = {
    "created": "refund_pending_minor",
    "unknown": "refund_pending_minor",
    "pending": "refund_pending_minor",
    "review": "refund_pending_minor",
    "succeeded": "refunded_minor",
    "failed": None,
}

# Shown to the buyer instead of the reason that staff entered.
CUSTOMER_FACING_REASON = "refunded by the merchant"

_FIRST_SYNC_AFTER = timedelta(minutes=1)
_MAX_SYNC_INTERVAL = timedelta(hours=6)
# After a refused refund of owed money the pause equals the time the money has been owed so far, within these bounds.
_MIN_RETRY_DELAY = timedelta(hours=1)
_MAX_RETRY_DELAY = timedelta(hours=12)


@dataclass(frozen=True, kw_only=True)
class RefundSnapshot:
    """The state of a refund, fetched from the provider and translated to our statuses."""

    object_id: str | None  # the provider's id; None: the refund was never made
    status: Literal["pending", "succeeded", "failed"]
    amount_minor: int
    currency: str
    refund_id: str | None  # from our metadata on the provider's object
    failure_reason: str | None = None
    receipt: str | None = None  # the status of the fiscal receipt: pending, succeeded, canceled; None: not requested


class Refund(Base):
    """A full or partial refund of an attempt. Changed only while the row of its order is locked."""

    __tablename__ = "refunds"
    __table_args__ = (UniqueConstraint("attempt_id", "object_id"), {"schema": "payments"})

    id: Mapped[UUID] = mapped_column(primary_key=True)
    command_id: Mapped[UUID] = mapped_column(unique=True)  # a retry of the command finds this row
    order_id: Mapped[UUID] = mapped_column(ForeignKey("payments.orders.id"))
    attempt_id: Mapped[UUID] = mapped_column(ForeignKey("payments.payment_attempts.id"))
    status: Mapped[RefundStatus]
    amount_minor: Mapped[int]
    currency: Mapped[str]
    reason: Mapped[PrivateText]
    requested_by: Mapped[UUID | None]  # None: made automatically, or in the provider's dashboard
    keeps_access: Mapped[bool]  # the buyer keeps access even if this completes a full refund
    # Since when duplicate or late money is owed to the buyer, without a request. None: an ordinary refund.
    owed_since: Mapped[datetime | None]
    object_id: Mapped[str | None]
    receipt_status: Mapped[str | None]  # of the fiscal receipt: pending, succeeded, canceled; None: not requested
    problem: Mapped[str | None]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    next_sync_at: Mapped[datetime | None]
    syncs: Mapped[int]

    @classmethod
    def create(
        cls,
        attempt: PaymentAttempt,
        amount_minor: int,
        *,
        command_id: UUID,
        reason: str,
        requested_by: UUID | None = None,
        keeps_access: bool = False,
        owed_since: datetime | None = None,
        at: datetime,
    ) -> Self:
        """Create a refund and reserve its amount in ``refund_pending_minor`` of the attempt.

        The caller commits it before it calls the provider. Raises RefundTooLarge.
        """
        if not 0 < amount_minor <= attempt.refundable_minor:
            raise RefundTooLarge(attempt.refundable_minor, attempt.money_currency)
        return cls._create(
            attempt,
            amount_minor,
            command_id=command_id,
            reason=reason,
            requested_by=requested_by,
            keeps_access=keeps_access,
            owed_since=owed_since,
            at=at,
        )

    @classmethod
    def create_owed(
        cls, attempt: PaymentAttempt, *, command_id: UUID, reason: str, at: datetime, owed_since: datetime | None = None
    ) -> Self | None:
        """Create the refund of the rest of a payment that must be returned; None if nothing is left.

        A refused refund is retried until the money has been returned.
        """
        if not attempt.refundable_minor:
            return None
        return cls.create(
            attempt,
            attempt.refundable_minor,
            command_id=command_id,
            reason=reason,
            owed_since=owed_since or at,
            at=at,
        )

    @classmethod
    def create_owed_again(cls, session: Session, attempt: PaymentAttempt, *, reason: str, at: datetime) -> Self | None:
        """Create the refund of owed money that became refundable again: a dispute was won, or another refund failed.

        Return None if nothing is owed, or if a refused refund will be retried: its replacement returns the rest.
        ``reason`` is used if no refund of this money was created before.
        """
        of_order = cls.list_for_order(session, attempt.order_id)
        owed = [each for each in of_order if each.attempt_id == attempt.id and each.owed_since]
        if any(each.must_be_retried for each in owed) or not (owed or attempt.status == "duplicate"):
            return None
        return cls.create_owed(attempt, command_id=new_id(), reason=owed[-1].reason if owed else reason, at=at)

    @classmethod
    def _create(
        cls,
        attempt: PaymentAttempt,
        amount_minor: int,
        *,
        command_id: UUID,
        reason: str,
        requested_by: UUID | None = None,
        keeps_access: bool = False,
        owed_since: datetime | None = None,
        at: datetime,
    ) -> Self:
        attempt.refund_pending_minor += amount_minor
        return cls(
            id=new_id(),
            command_id=command_id,
            order_id=attempt.order_id,
            attempt_id=attempt.id,
            status="created",
            amount_minor=amount_minor,
            currency=attempt.money_currency,
            reason=reason,
            requested_by=requested_by,
            keeps_access=keeps_access,
            owed_since=owed_since,
            created_at=at,
            # If the process dies during the call, the job fetches the outcome.
            next_sync_at=at + _FIRST_SYNC_AFTER,
            syncs=0,
        )

    @classmethod
    def create_for_order(
        cls,
        order: Order,
        amount_minor: int | None,
        *,
        command_id: UUID,
        reason: str,
        requested_by: UUID,
        payment_id: UUID | None = None,
        keeps_access: bool = False,
        at: datetime,
    ) -> Self:
        """Create a refund of a payment of ``order``; ``amount_minor`` None refunds the whole refundable amount.

        ``payment_id`` None means the payment that paid the order. Raises OrderNotPaid, PaymentInReview,
        PaymentOrderMismatch, RefundTooLarge.
        """
        payment = order.payment(payment_id) if payment_id else order.successful_attempt
        if payment is None:
            raise OrderNotPaid(str(order.id))
        if payment.status == "review":
            raise PaymentInReview(str(payment.id))
        if amount_minor is None:
            amount_minor = payment.refundable_minor
        refund = cls.create(
            payment,
            amount_minor,
            command_id=command_id,
            reason=reason,
            requested_by=requested_by,
            keeps_access=keeps_access,
            at=at,
        )
        order.add_history_entry(
            "refund_started", at=at, attempt=payment, detail=f"{amount_minor} {payment.money_currency}"
        )
        return refund

    @classmethod
    def create_from_provider(cls, attempt: PaymentAttempt, snapshot: RefundSnapshot, *, at: datetime) -> Self:
        """Create the row of a refund that was made in the provider's dashboard.

        It has happened already, so it is recorded even if it exceeds the refundable amount.
        """
        assert snapshot.object_id is not None
        command_id = uuid5(attempt.id, snapshot.object_id)
        return cls._create(
            attempt, snapshot.amount_minor, command_id=command_id, reason="created at the provider", at=at
        )

    @classmethod
    def find_by_command(cls, session: Session, command_id: UUID) -> Self | None:
        return session.scalars(select(cls).where(cls.command_id == command_id)).one_or_none()

    @classmethod
    def list_for_order(cls, session: Session, order_id: UUID) -> list[Self]:
        """Return the refunds of an order, oldest first, reloaded because objects read before the lock may be stale."""
        theirs = select(cls).where(cls.order_id == order_id).order_by(cls.id)
        return list(session.scalars(theirs.execution_options(populate_existing=True)))

    @classmethod
    def get(cls, session: Session, refund_id: UUID) -> Self:
        """Return a refund without locking it. Raises NotFound."""
        refund = session.get(cls, refund_id)
        if refund is None:
            raise NotFound("refund", str(refund_id))
        return refund

    @classmethod
    def list_page(cls, session: Session, *, status: str | None, limit: int, after: UUID | None) -> list[Self]:
        """List refunds, newest first. ``after`` is the last id of the previous page."""
        refunds = select(cls).order_by(cls.id.desc()).limit(limit)
        if status:
            refunds = refunds.where(cls.status == status)
        return list(session.scalars(refunds.where(cls.id < after) if after else refunds))

    @classmethod
    def due(cls, session: Session, *, at: datetime, limit: int) -> list[Self]:
        """Return and lock refunds due for a sync with the provider. Rows locked by other workers are skipped."""
        due = select(cls).where(cls.next_sync_at <= at).order_by(cls.next_sync_at).limit(limit)
        return list(session.scalars(due.with_for_update(skip_locked=True)))

    @classmethod
    def is_owed(cls) -> ColumnElement[bool]:
        """Return the SQL condition for owed refunds that have not succeeded, including refused ones to be retried."""
        waits = cls.status.in_(("created", "unknown", "pending", "review")) | cls.next_sync_at.is_not(None)
        return cls.owed_since.is_not(None) & (cls.status != "succeeded") & waits

    @property
    def must_be_retried(self) -> bool:
        """Whether the provider refused an owed refund: a new refund with a new idempotency key must replace it."""
        return self.status == "failed" and self.next_sync_at is not None

    def create_replacement(self, attempt: PaymentAttempt, *, at: datetime) -> Self | None:
        """Create the refund that replaces this one; None if the money was returned in another way."""
        self.next_sync_at = None
        return self.create_owed(
            attempt, command_id=uuid5(self.id, "retry"), reason=self.reason, at=at, owed_since=self.owed_since
        )

    def accept_from_review(self, attempt: PaymentAttempt, snapshot: RefundSnapshot) -> None:
        """Leave review with the amount that the provider refunds. The caller then applies the provider's status."""
        attempt.refund_pending_minor += snapshot.amount_minor - self.amount_minor
        self.amount_minor, self.currency = snapshot.amount_minor, snapshot.currency
        self.status, self.problem = "pending", None

    def release_from_review(self) -> None:
        """Leave review without money. The caller then applies ``failed_snapshot``, which marks the refund as failed."""
        self.status, self.problem = "pending", None

    @property
    def is_open(self) -> bool:
        """Whether the state at the provider may still change, so that a sync is useful."""
        return self.status in {"created", "unknown", "pending"}

    @property
    def may_still_change(self) -> bool:
        """Whether a sync is useful: the state at the provider, or that of the receipt, may still change."""
        return self.is_open or (self.status == "succeeded" and self.receipt_status == "pending")

    def matches(self, snapshot: RefundSnapshot) -> bool:
        """Whether ``snapshot`` is of this refund, by our metadata or by the provider's id."""
        return snapshot.refund_id == str(self.id) or (
            self.object_id is not None and snapshot.object_id == self.object_id
        )

    def accepts(self, snapshot: RefundSnapshot) -> bool:
        """Whether ``snapshot`` may change it.

        A bank may reverse a succeeded refund. A failed refund may still succeed if it was never seen at the provider.
        """
        if self.status == "succeeded":
            return snapshot.status == "failed"
        if self.status == "failed":
            # It was marked as failed without a provider object, but the provider had made it.
            return self.object_id is None and snapshot.status == "succeeded"
        return self.status != "review"

    def apply(self, order: Order, snapshot: RefundSnapshot, *, at: datetime) -> PaymentRefunded | RefundReversed | None:
        """Apply the provider's state and recalculate the order's status; returns the event to publish, or None."""
        if not self.accepts(snapshot):
            return None
        attempt, before, had_access = order.attempt(self.attempt_id), self.status, order.grants_access
        was_reversed = order.is_fully_reversed
        self._apply_snapshot(attempt, snapshot, at)
        order.recalculate_status()
        if self.status != before:
            what = f"{self.amount_minor} {self.currency}"
            order.add_history_entry(f"refund_{self.status}", at=at, attempt=attempt, detail=self.problem or what)
        about: dict[str, Any] = {
            "order_id": order.id,
            "refund_id": self.id,
            "payment_id": attempt.id,
            "user_id": order.user_id,
            "description": order.course_title,
            "amount_minor": self.amount_minor,
            "currency": self.currency,
            "provider": attempt.provider,
            "course_ids": list(order.courses),
        }
        if self.status == "succeeded" != before:
            self.add_credit_note(order, at=at)
            all_of_it = order.is_fully_reversed and not was_reversed
            kept = all_of_it and self.keeps_access
            return PaymentRefunded(**about, is_full_refund=all_of_it, keeps_access=kept, refunded_at=at)
        if self.status == "failed" and before == "succeeded":
            session = object_session(order)
            assert session is not None
            Invoice.void(session, self.id, at=at)
            return RefundReversed(**about, order_restored=order.grants_access and not had_access, reversed_at=at)
        return None

    def add_credit_note(self, order: Order, *, at: datetime) -> None:
        """Add the credit note of a refund of the payment that paid the order; other payments have no invoice."""
        if order.successful_attempt is None or order.successful_attempt.id != self.attempt_id:
            return
        session = object_session(order)
        assert session is not None
        Invoice.add(
            session,
            order_id=order.id,
            user_id=order.user_id,
            amount_minor=self.amount_minor,
            currency=self.currency,
            refund_id=self.id,
            at=at,
        )

    def _apply_snapshot(self, attempt: PaymentAttempt, snapshot: RefundSnapshot, at: datetime) -> None:
        # Set it also on a mismatch: otherwise the next snapshot would not find this row and would create a second one.
        self.object_id = snapshot.object_id or self.object_id
        if (snapshot.amount_minor, snapshot.currency) != (self.amount_minor, self.currency):
            self._set_status("review", attempt, problem="does not match: amount or currency")
            return
        if snapshot.status == "pending":
            self._set_status("pending", attempt, next_sync_at=self.next_sync_at or at + _FIRST_SYNC_AFTER)
        else:
            self.finished_at = at
            retry_at = self._retry_at(at) if snapshot.status == "failed" else None
            self._set_status(snapshot.status, attempt, problem=snapshot.failure_reason, next_sync_at=retry_at)

    def apply_receipt(self, snapshot: RefundSnapshot, *, at: datetime) -> bool:
        """Apply the status of the fiscal receipt. Return True if it was canceled now: staff must issue it manually."""
        was, self.receipt_status = self.receipt_status, snapshot.receipt
        if self.status == "succeeded":
            self.next_sync_at = (self.next_sync_at or at + _FIRST_SYNC_AFTER) if snapshot.receipt == "pending" else None
        return snapshot.receipt == "canceled" != was

    def _retry_at(self, at: datetime) -> datetime | None:
        if self.owed_since is None:
            return None
        return at + min(max(at - self.owed_since, _MIN_RETRY_DELAY), _MAX_RETRY_DELAY)

    def mark_unknown(self) -> None:
        """Record that the call had no clear outcome."""
        if self.status == "created":
            self.status = "unknown"

    def postpone_sync(self, *, at: datetime) -> None:
        """Sync again after 2, 4, 8 … minutes, at least every six hours."""
        self.syncs += 1
        self.next_sync_at = at + min(_FIRST_SYNC_AFTER * 2 ** min(self.syncs, 10), _MAX_SYNC_INTERVAL)

    def clear_personal_data(self) -> bool:
        """Clear the reason, which may identify the buyer; False if already cleared."""
        was, self.reason = self.reason, ""
        return was != ""

    def failed_snapshot(self, reason: str) -> RefundSnapshot:
        """Return the snapshot of a refund that the provider refused, or does not know and cannot make any more."""
        return RefundSnapshot(
            object_id=None,
            status="failed",
            amount_minor=self.amount_minor,
            currency=self.currency,
            refund_id=str(self.id),
            failure_reason=reason,
        )

    def _set_status(
        self,
        status: RefundStatus,
        attempt: PaymentAttempt,
        *,
        problem: str | None = None,
        next_sync_at: datetime | None = None,
    ) -> None:
        for counter, change in ((_COUNTERS[self.status], -self.amount_minor), (_COUNTERS[status], self.amount_minor)):
            if counter:
                setattr(attempt, counter, getattr(attempt, counter) + change)
        self.status, self.problem, self.next_sync_at = status, problem, next_sync_at

    def to_response(self) -> dict[str, Any]:
        """Return the representation for staff, as in POST /v1/orders/{id}/refunds."""
        return {
            "id": self.id,
            "order_id": self.order_id,
            "payment_id": self.attempt_id,
            "status": self.status,
            "amount_minor": self.amount_minor,
            "currency": self.currency,
            "reason": self.reason,
            "keeps_access": self.keeps_access,
            "problem": self.problem,
            "owed_since": self.owed_since,
            "created_at": self.created_at,
            "finished_at": self.finished_at,
        }

    def to_customer_response(self) -> dict[str, Any]:
        """Return the representation for the buyer, without the reason that staff entered."""
        return {**self.to_response(), "reason": CUSTOMER_FACING_REASON} if self.requested_by else self.to_response()
