"""The history of an order, shown as its timeline to find out where it is stuck."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from core.db import Base


class OrderHistoryEntry(Base):
    """One step, inserted in the transaction of the change it records, and never updated."""

    __tablename__ = "order_history"
    __table_args__ = ({"schema": "payments"},)

    id: Mapped[UUID] = mapped_column(primary_key=True)  # UUIDs rise with time: the order of the steps
    order_id: Mapped[UUID] = mapped_column(ForeignKey("payments.orders.id"))
    step: Mapped[str]
    payment_id: Mapped[UUID | None]  # the attempt that the step concerns
    provider: Mapped[str | None]
    detail: Mapped[str | None]  # why
    at: Mapped[datetime]

    def to_response(self) -> dict[str, Any]:
        """Return the representation as an item of GET /v1/orders/{id}/timeline."""
        return {
            "step": self.step,
            "payment_id": self.payment_id,
            "provider": self.provider,
            "detail": self.detail,
            "at": self.at,
        }
