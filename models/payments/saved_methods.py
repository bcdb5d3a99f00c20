"""Saved payment methods, for charges without the buyer."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base, PrivateText

from .payment_attempts import PaymentAttempt
from .payment_snapshots import PaymentSnapshot


class SavedMethod(Base):
    """The provider's id of a buyer's saved payment method, one per provider account. Card data is never stored."""

    __tablename__ = "saved_methods"
    __table_args__ = ({"schema": "payments"},)

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    provider: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(primary_key=True)
    method_id: Mapped[PrivateText]
    customer_id: Mapped[PrivateText | None]
    saved_at: Mapped[datetime]

    @classmethod
    def upsert(
        cls, session: Session, *, user_id: UUID, attempt: PaymentAttempt, snapshot: PaymentSnapshot, at: datetime
    ) -> None:
        """Upsert the payment method saved in a checkout session. A newer one replaces the previous one."""
        row = {
            "user_id": user_id,
            "provider": attempt.provider,
            "account": attempt.account,
            "method_id": snapshot.method_id,
            "customer_id": snapshot.customer_id,
            "saved_at": at,
        }
        kept = (
            insert(cls).values(row).on_conflict_do_update(index_elements=["user_id", "provider", "account"], set_=row)
        )
        session.execute(kept)

    @classmethod
    def get(cls, session: Session, *, user_id: UUID, provider: str, account: str) -> Self | None:
        return session.get(cls, (user_id, provider, account))

    @classmethod
    def list_for_user(cls, session: Session, user_id: UUID) -> list[Self]:
        """Return the saved methods of a user, sorted by provider and account."""
        return list(session.scalars(select(cls).where(cls.user_id == user_id).order_by(cls.provider, cls.account)))

    def to_export(self) -> dict[str, Any]:
        """Return the representation in an export of personal data."""
        names = ("provider", "account", "method_id", "customer_id", "saved_at")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def delete_for_user(cls, session: Session, user_id: UUID) -> int:
        """Delete the saved methods of a user; returns the number of deleted rows."""
        return len(session.scalars(delete(cls).where(cls.user_id == user_id).returning(cls.provider)).all())
