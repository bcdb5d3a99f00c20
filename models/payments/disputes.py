"""Disputes (chargebacks): money that a buyer's bank takes back. Their state comes only from the provider."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Self
from uuid import UUID

from sqlalchemy import ForeignKey, UniqueConstraint, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base, new_id
from models.errors import NotFound
from models.events import DisputeClosed, DisputeOpened

from .orders import Order
from .payment_attempts import PaymentAttempt

ProviderDisputeStatus = Literal["inquiry", "open", "won", "lost"]
DisputeStatus = Literal[
    "inquiry",  # the bank asks for information and has withheld no money
    "open",  # the money is withheld until the bank decides
    "won",  # by the seller: the money was returned, or never withheld
    "lost",
    "review",  # its currency differs from the payment's: an operator has to decide, and no counter includes it
]

# The counter of the attempt that includes a dispute of this status.
_COUNTERS: dict[DisputeStatus, str | None] = {
    "inquiry": None,
    "open": "disputed_minor",
    "lost": "charged_back_minor",
    "won": None,
    "review": None,
}
# Accepted transitions. Updates arrive in any order. A bank may still return the money of a lost dispute; the reverse
# does not happen, so "won" is final.
_ALLOWED_TRANSITIONS: dict[DisputeStatus, frozenset[ProviderDisputeStatus]] = {
    "inquiry": frozenset({"open", "won", "lost"}),
    "open": frozenset({"won", "lost"}),
    "lost": frozenset({"won"}),
    "won": frozenset(),
    "review": frozenset(),
}


@dataclass(frozen=True, kw_only=True)
class DisputeSnapshot:
    """The state of a dispute, fetched from the provider and translated to our statuses."""

    object_id: str  # the provider's id
    status: ProviderDisputeStatus
    amount_minor: int
    currency: str
    reason: str  # the provider's reason code
    respond_by: datetime | None  # the deadline for evidence

    @property
    def holds_funds(self) -> bool:
        """Whether the bank has withheld or taken the money in this state."""
        return _COUNTERS[self.status] is not None


class Dispute(Base):
    """A dispute of a payment. Changed only while the row of its order is locked."""

    __tablename__ = "disputes"
    __table_args__ = (UniqueConstraint("attempt_id", "object_id"), {"schema": "payments"})

    id: Mapped[UUID] = mapped_column(primary_key=True)
    order_id: Mapped[UUID] = mapped_column(ForeignKey("payments.orders.id"))
    attempt_id: Mapped[UUID] = mapped_column(ForeignKey("payments.payment_attempts.id"))
    object_id: Mapped[str]
    status: Mapped[DisputeStatus]
    amount_minor: Mapped[int]
    currency: Mapped[str]
    reason: Mapped[str]
    problem: Mapped[str | None]
    respond_by: Mapped[datetime | None]
    opened_at: Mapped[datetime]  # when it was first recorded here
    closed_at: Mapped[datetime | None]

    @classmethod
    def get_or_create(
        cls, session: Session, attempt: PaymentAttempt, snapshot: DisputeSnapshot, *, at: datetime
    ) -> tuple[Self, bool]:
        """Get or create the dispute of ``attempt`` for ``snapshot``; also return whether it was created.

        The caller holds the lock of the order. A dispute in another currency is created in review.
        """
        known = select(cls).where(cls.attempt_id == attempt.id, cls.object_id == snapshot.object_id)
        dispute = session.scalars(known.execution_options(populate_existing=True)).one_or_none()
        if dispute:
            return dispute, False
        fits = snapshot.currency == attempt.money_currency
        dispute = cls(
            id=new_id(),
            order_id=attempt.order_id,
            attempt_id=attempt.id,
            object_id=snapshot.object_id,
            status="inquiry" if fits else "review",
            amount_minor=snapshot.amount_minor,
            currency=snapshot.currency,
            reason=snapshot.reason,
            problem=None if fits else "does not match: currency",
            respond_by=snapshot.respond_by,
            opened_at=at,
        )
        session.add(dispute)
        return dispute, True

    @classmethod
    def list_page(
        cls, session: Session, *, order_id: UUID | None, status: str | None, limit: int, after: UUID | None
    ) -> list[Self]:
        """List disputes, newest first. ``after`` is the last id of the previous page."""
        disputes = select(cls).order_by(cls.id.desc()).limit(limit)
        if order_id:
            disputes = disputes.where(cls.order_id == order_id)
        if status:
            disputes = disputes.where(cls.status == status)
        return list(session.scalars(disputes.where(cls.id < after) if after else disputes))

    @classmethod
    def get(cls, session: Session, dispute_id: UUID) -> Self:
        """Return a dispute without locking it. Raises NotFound."""
        dispute = session.get(cls, dispute_id)
        if dispute is None:
            raise NotFound("dispute", str(dispute_id))
        return dispute

    @classmethod
    def list_for_order(cls, session: Session, order_id: UUID) -> list[Self]:
        """Return the disputes of an order, oldest first."""
        return list(session.scalars(select(cls).where(cls.order_id == order_id).order_by(cls.id)))

    def accept_from_review(self, amount_minor: int, currency: str) -> None:
        """Leave review with the amount in the payment's currency. The caller then applies the provider's status."""
        self.status, self.amount_minor, self.currency = "inquiry", amount_minor, currency

    def release_from_review(self, *, at: datetime) -> None:
        """Leave review as won: the bank has taken nothing."""
        self.status, self.closed_at = "won", at

    @property
    def taken_minor(self) -> int:
        """The amount that the bank has withheld or taken."""
        return self.amount_minor if _COUNTERS[self.status] else 0

    def apply(self, order: Order, snapshot: DisputeSnapshot, *, at: datetime) -> DisputeOpened | DisputeClosed | None:
        """Apply the provider's state and recalculate the order's status; returns the event to publish, or None.

        A snapshot of an earlier status is outdated and changes nothing. Without a change of the status, a new amount is
        published only if it gives or ends access.
        """
        if snapshot.status not in {self.status, *_ALLOWED_TRANSITIONS[self.status]}:
            return None
        attempt, had_access = order.attempt(self.attempt_id), order.grants_access
        before, taken_before = self.status, self.taken_minor
        self._follow(attempt, snapshot)
        if (self.status, self.taken_minor) == (before, taken_before):
            return None
        order.recalculate_status()
        step = "dispute_amount" if self.status == before else f"dispute_{self.status}"
        order.add_history_entry(step, at=at, attempt=attempt, detail=f"{self.amount_minor} {self.currency}")
        if self.status != before:
            self.closed_at = None if self.status == "open" else at
        elif order.grants_access == had_access:
            return None
        return self._changed(order, attempt, before=before, had_access=had_access, at=at)

    def _follow(self, attempt: PaymentAttempt, snapshot: DisputeSnapshot) -> None:
        """Take over status, amount and deadline, and adjust the counters of the attempt.

        An amount in another currency is not comparable: the known amount stays, and ``problem`` says so.
        """
        if counter := _COUNTERS[self.status]:
            setattr(attempt, counter, getattr(attempt, counter) - self.amount_minor)
        self.status, self.respond_by = snapshot.status, snapshot.respond_by
        if snapshot.currency == self.currency:
            self.amount_minor = snapshot.amount_minor
        else:
            self.problem = "does not match: currency"
        if counter := _COUNTERS[self.status]:
            setattr(attempt, counter, getattr(attempt, counter) + self.amount_minor)

    def _changed(
        self, order: Order, attempt: PaymentAttempt, *, before: DisputeStatus, had_access: bool, at: datetime
    ) -> DisputeOpened | DisputeClosed | None:
        """Return the event about the change of the dispute from the status ``before``, or None."""
        about: dict[str, Any] = {
            "order_id": order.id,
            "dispute_id": self.id,
            "payment_id": attempt.id,
            "user_id": order.user_id,
            "description": order.course_title,
            "amount_minor": self.amount_minor,
            "currency": self.currency,
            "provider": attempt.provider,
        }
        if self.status == "open":
            suspended = had_access and not order.grants_access
            return DisputeOpened(**about, reason=self.reason, order_suspended=suspended, opened_at=at)
        if before == "inquiry" and self.status == "won":
            return None  # no money was withheld, so there is nothing to publish
        return DisputeClosed(
            **about,
            won=self.status == "won",
            order_restored=order.grants_access and not had_access,
            order_charged_back=order.status == "charged_back" and attempt is order.successful_attempt,
            closed_at=at,
        )

    def to_response(self) -> dict[str, Any]:
        """Return the representation as an item of GET /v1/disputes."""
        return {
            "id": self.id,
            "order_id": self.order_id,
            "payment_id": self.attempt_id,
            "provider_id": self.object_id,
            "status": self.status,
            "amount_minor": self.amount_minor,
            "currency": self.currency,
            "reason": self.reason,
            "problem": self.problem,
            "respond_by": self.respond_by,
            "opened_at": self.opened_at,
            "closed_at": self.closed_at,
        }
