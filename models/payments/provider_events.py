"""What the providers' webhooks said, kept before they are thanked: each once, each a hint to ask the provider."""

from datetime import datetime, timedelta
from typing import Literal, Self
from uuid import UUID

from sqlalchemy import Index, UniqueConstraint, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.base import Base, new_id

# By then the hint that follows the webhook has done its work, or was lost.
_SWEPT_AFTER = timedelta(seconds=15)
_SWEPT_AT_LEAST_EVERY = timedelta(hours=1)


class ProviderEvent(Base):
    """A webhook without its body: what it told of is fetched, and buyers' addresses stay with the provider."""

    __tablename__ = "provider_events"
    __table_args__ = (
        UniqueConstraint("provider", "account", "dedupe_key"),
        Index("ix_provider_events_due", "due_at", postgresql_where=text("status = 'received'")),
        {"schema": "payments"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    provider: Mapped[str]
    account: Mapped[str]
    dedupe_key: Mapped[str]
    type: Mapped[str]
    object_id: Mapped[str]
    status: Mapped[Literal["received", "applied", "ignored"]]  # ignored: it belongs to no attempt of ours
    sweeps: Mapped[int]
    due_at: Mapped[datetime]
    received_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]

    @classmethod
    def keep(
        cls, session: Session, *, provider: str, account: str, dedupe_key: str, kind: str, object_id: str, at: datetime
    ) -> UUID | None:
        """Store the event; returns its id, None where it is here already and somebody is at it.

        One that was looked at and not borne out (the notice came early, or was forged) is looked at again at once.
        """
        row = {
            "id": new_id(),
            "provider": provider,
            "account": account,
            "dedupe_key": dedupe_key,
            "type": kind,
            "object_id": object_id,
            "status": "received",
            "sweeps": 0,
            "due_at": at + _SWEPT_AFTER,
            "received_at": at,
        }
        waits = (cls.status == "received") & (cls.sweeps > 0)
        told = (
            insert(cls)
            .values(row)
            .on_conflict_do_update(
                index_elements=["provider", "account", "dedupe_key"],
                set_={"sweeps": 0, "due_at": row["due_at"]},
                where=waits,
            )
        )
        return session.scalars(told.returning(cls.id)).one_or_none()

    @classmethod
    def due(cls, session: Session, *, at: datetime, limit: int) -> list[Self]:
        """Events that nobody has applied yet though they should have, locked; another's are left to them."""
        due = select(cls).where(cls.status == "received", cls.due_at <= at).order_by(cls.due_at).limit(limit)
        return list(session.scalars(due.with_for_update(skip_locked=True)))

    def postpone(self, *, at: datetime) -> None:
        """Look again after 30 s, 1, 2, 4 … minutes, at least every hour: an event is never given up."""
        self.sweeps += 1
        self.due_at = at + min(_SWEPT_AFTER * 2 ** min(self.sweeps, 10), _SWEPT_AT_LEAST_EVERY)

    def finish(self, status: Literal["applied", "ignored"], *, at: datetime) -> None:
        self.status = status
        self.finished_at = at
