"""What Auth0 is still to be told: committed with the change, called for without a transaction, repeated until done."""

from datetime import datetime, timedelta
from typing import Literal, Self
from uuid import UUID

from sqlalchemy import Index, UniqueConstraint, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.base import Base, new_id

LEASE = timedelta(seconds=60)  # above the longest row of calls
_FIRST_WAIT, _LONGEST_WAIT = timedelta(seconds=15), timedelta(hours=1)

Kind = Literal["roles", "erase"]


class IdentityChange(Base):
    """The newest wish of its kind for a user; gone when Auth0 has it."""

    __tablename__ = "identity_changes"
    __table_args__ = (
        UniqueConstraint("user_id", "kind"),
        Index("ix_identity_changes_due_at", "due_at"),
        {"schema": "users"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)  # another one with each wish
    user_id: Mapped[UUID]
    kind: Mapped[Kind]
    sub: Mapped[str]
    roles: Mapped[list[str]]
    attempts: Mapped[int]
    due_at: Mapped[datetime]
    last_error: Mapped[str | None]

    @classmethod
    def want(cls, session: Session, user_id: UUID, kind: Kind, *, sub: str, roles: list[str], at: datetime) -> UUID:
        """Note what Auth0 should say, in place of an earlier wish; returns the id. It is leased to the caller."""
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
        wish = insert(cls).values(row).on_conflict_do_update(index_elements=["user_id", "kind"], set_=row)
        return session.scalars(wish.returning(cls.id)).one()

    @classmethod
    def due(cls, session: Session, *, at: datetime, limit: int) -> list[Self]:
        """Wishes that are to be tried again, locked; another's are left to them."""
        due = select(cls).where(cls.due_at <= at).order_by(cls.due_at).limit(limit)
        return list(session.scalars(due.with_for_update(skip_locked=True)))

    @classmethod
    def forget(cls, session: Session, user_id: UUID, kind: Kind) -> None:
        """Take back a wish that has lost its point."""
        session.execute(delete(cls).where(cls.user_id == user_id, cls.kind == kind))

    def lease(self, *, at: datetime) -> None:
        self.attempts += 1
        self.due_at = at + LEASE

    def put_off(self, error: str, *, at: datetime, seconds: int | None) -> None:
        """Try again after ``seconds``, as Auth0 asked; without them after 15 s, 30 s, 1 min … 1 h."""
        backoff = min(_FIRST_WAIT * (1 << min(self.attempts, 16)), _LONGEST_WAIT)
        self.due_at = at + (timedelta(seconds=seconds) if seconds else backoff)
        self.last_error = error
