"""Customers that must be deleted at a provider, because their account was erased."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Self
from uuid import UUID

from sqlalchemy import UniqueConstraint, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base, PrivateText, new_id

_FIRST_RETRY_AFTER = timedelta(minutes=1)
_MAX_RETRY_INTERVAL = timedelta(hours=6)


class ProviderErasure(Base):
    """A pending deletion. The row is deleted after the provider has deleted the customer, so no customer id remains."""

    __tablename__ = "provider_erasures"
    __table_args__ = (UniqueConstraint("provider", "account", "customer_id"), {"schema": "payments"})

    id: Mapped[UUID] = mapped_column(primary_key=True)
    provider: Mapped[str]
    account: Mapped[str]
    customer_id: Mapped[PrivateText]
    requested_at: Mapped[datetime]
    next_try_at: Mapped[datetime]
    tries: Mapped[int]

    @classmethod
    def request(cls, session: Session, customers: Iterable[tuple[str, str, str]], *, at: datetime) -> None:
        """Request the deletion of customers, given as (provider, account, customer id). Requested ones are skipped."""
        rows = [
            {
                "id": new_id(),
                "provider": provider,
                "account": account,
                "customer_id": customer_id,
                "requested_at": at,
                "next_try_at": at,
                "tries": 0,
            }
            for provider, account, customer_id in sorted(set(customers))
        ]
        if rows:
            session.execute(insert(cls).values(rows).on_conflict_do_nothing())

    @classmethod
    def due(cls, session: Session, *, at: datetime, limit: int) -> list[Self]:
        """Return and lock deletions that are due. Rows locked by other workers are skipped."""
        due = select(cls).where(cls.next_try_at <= at).order_by(cls.next_try_at).limit(limit)
        return list(session.scalars(due.with_for_update(skip_locked=True)))

    def postpone(self, *, at: datetime) -> None:
        """Try again after 2, 4, 8 … minutes, at least every six hours."""
        self.tries += 1
        self.next_try_at = at + min(_FIRST_RETRY_AFTER * 2 ** min(self.tries, 10), _MAX_RETRY_INTERVAL)
