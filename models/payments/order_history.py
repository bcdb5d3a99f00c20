"""The history of an order, shown as its timeline to find out where it is stuck."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base, PrivateText, new_id


class OrderHistoryEntry(Base):
    """One step, inserted in the transaction of the change it records, and never updated."""

    __tablename__ = "order_history"
    __table_args__ = ({"schema": "payments"},)

    id: Mapped[UUID] = mapped_column(primary_key=True)  # UUIDs rise with time: the order of the steps
    order_id: Mapped[UUID] = mapped_column(ForeignKey("payments.orders.id"))
    step: Mapped[str]
    payment_id: Mapped[UUID | None]  # the attempt that the step concerns
    provider: Mapped[str | None]
    detail: Mapped[PrivateText | None]  # why
    at: Mapped[datetime]

    @classmethod
    def insert(
        cls,
        session: Session,
        order_id: UUID,
        step: str,
        *,
        payment_id: UUID | None,
        provider: str | None,
        detail: str | None,
        at: datetime,
    ) -> None:
        """Insert a step of an order that exists."""
        row = {
            "id": new_id(),
            "order_id": order_id,
            "step": step,
            "payment_id": payment_id,
            "provider": provider,
            "detail": detail,
            "at": at,
        }
        session.connection().execute(_INSERT, row)

    def to_response(self) -> dict[str, Any]:
        """Return the representation as an item of GET /v1/orders/{id}/timeline."""
        return {
            "step": self.step,
            "payment_id": self.payment_id,
            "provider": self.provider,
            "detail": self.detail,
            "at": self.at,
        }


# A Core insert instead of an ORM object: the transaction that adds a step never reads it again.
_INSERT = insert(OrderHistoryEntry)
