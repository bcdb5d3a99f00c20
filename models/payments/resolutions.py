"""Operators' decisions about payments, refunds and disputes in review: who decided what, when and why."""

from datetime import datetime
from typing import Any, Literal, Self
from uuid import UUID

from sqlalchemy import ForeignKey, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base, PrivateText, new_id
from models.commands.payments import Action

Subject = Literal["payment", "refund", "dispute"]


class Resolution(Base):
    """One decision. The database role of the service may only insert rows and update ``note``."""

    __tablename__ = "resolutions"
    __table_args__ = ({"schema": "payments"},)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    order_id: Mapped[UUID] = mapped_column(ForeignKey("payments.orders.id"))
    subject: Mapped[Subject]
    subject_id: Mapped[UUID]
    action: Mapped[Action]
    note: Mapped[PrivateText]
    actor: Mapped[UUID]
    resolved_at: Mapped[datetime]

    @classmethod
    def add(cls, session: Session, *, at: datetime, **fields: Any) -> Self:
        """Record a decision: order_id, subject, subject_id, action, note, actor."""
        resolution = cls(id=new_id(), resolved_at=at, **fields)
        session.add(resolution)
        return resolution

    @classmethod
    def list_for_subject(cls, session: Session, subject_id: UUID) -> list[Self]:
        """Return the decisions about one payment, refund or dispute, oldest first."""
        return list(session.scalars(select(cls).where(cls.subject_id == subject_id).order_by(cls.id)))

    @classmethod
    def list_for_order(cls, session: Session, order_id: UUID) -> list[Self]:
        """Return the decisions about an order's payments, refunds and disputes, oldest first."""
        return list(session.scalars(select(cls).where(cls.order_id == order_id).order_by(cls.id)))

    def clear_personal_data(self) -> bool:
        """Clear the note, which may identify the buyer; False if already cleared."""
        was, self.note = self.note, ""
        return was != ""

    def to_response(self) -> dict[str, Any]:
        """Return the representation in GET /v1/payments/{id}."""
        return {"action": self.action, "note": self.note, "actor": self.actor, "resolved_at": self.resolved_at}
