"""What happened to an order, step by step, for whoever asks where it hangs."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base


class OrderStep(Base):
    """Written once, with the change that it tells of; never changed."""

    __tablename__ = "order_steps"
    __table_args__ = ({"schema": "payments"},)

    id: Mapped[UUID] = mapped_column(primary_key=True)  # rises with time
    order_id: Mapped[UUID] = mapped_column(ForeignKey("payments.orders.id"))
    step: Mapped[str]
    payment_id: Mapped[UUID | None]  # the attempt that it is about
    provider: Mapped[str | None]
    detail: Mapped[str | None]  # why
    at: Mapped[datetime]

    def view(self) -> dict[str, Any]:
        """As an item of GET /v1/orders/{id}/timeline."""
        return {
            "step": self.step,
            "payment_id": self.payment_id,
            "provider": self.provider,
            "detail": self.detail,
            "at": self.at,
        }
