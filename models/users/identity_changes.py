"""Changes to push to Auth0: inserted with the local change, pushed outside of a transaction, retried until done."""

from datetime import datetime, timedelta
from typing import Literal, Self
from uuid import UUID

from sqlalchemy import Index, UniqueConstraint, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base, PrivateText, new_id

LEASE = timedelta(seconds=60)  # longer than all calls of one push together
_INITIAL_BACKOFF, _MAX_BACKOFF = timedelta(seconds=15), timedelta(hours=1)

Kind = Literal["roles", "erase"]


class IdentityChange(Base):
    """The latest pending change of a kind for a user; deleted after Auth0 has accepted it."""

    __tablename__ = "identity_changes"
    __table_args__ = (
        UniqueConstraint("user_id", "kind"),
        Index("ix_identity_changes_due_at", "due_at"),
        {"schema": "users"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)  # new with each change, so that a superseded push is detected
    user_id: Mapped[UUID]
    kind: Mapped[Kind]
    sub: Mapped[PrivateText]
    roles: Mapped[list[str]]
    attempts: Mapped[int]
    due_at: Mapped[datetime]
    last_error: Mapped[PrivateText | None]

    @classmethod
    def request(cls, session: Session, user_id: UUID, kind: Kind, *, sub: str, roles: list[str], at: datetime) -> UUID:
        """Store a change, in place of an earlier one, leased to the caller; return its id."""
        row = {
            "id": new_id(),
            "user_id": user_id,
            "kind": kind,
            "sub": sub,
            "roles": roles,
            "attempts": 0,
            "due_at": at + LEASE,
            "last_error": None,
        }
        upsert = insert(cls).values(row).on_conflict_do_update(index_elements=["user_id", "kind"], set_=row)
        return session.scalars(upsert.returning(cls.id)).one()

    @classmethod
    def due(cls, session: Session, *, at: datetime, limit: int) -> list[Self]:
        """Return the due changes, locked. Rows locked by other workers are skipped."""
        due = select(cls).where(cls.due_at <= at).order_by(cls.due_at).limit(limit)
        return list(session.scalars(due.with_for_update(skip_locked=True)))

    @classmethod
    def delete(cls, session: Session, user_id: UUID, kind: Kind) -> None:
        """Delete a change that is no longer needed."""
        session.execute(delete(cls).where(cls.user_id == user_id, cls.kind == kind))

    def lease(self, *, at: datetime) -> None:
        """Count an attempt and lease the change to the caller."""
        self.attempts += 1
        self.due_at = at + LEASE

    def schedule_retry(self, error: str, *, at: datetime, seconds: int | None) -> None:
        """Schedule a retry after ``seconds`` (Auth0's Retry-After), or else after 15 s, 30 s, 1 min … 1 h."""
        backoff = min(_INITIAL_BACKOFF * (1 << min(self.attempts, 16)), _MAX_BACKOFF)
        self.due_at = at + (timedelta(seconds=seconds) if seconds else backoff)
        self.last_error = error
