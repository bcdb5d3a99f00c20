"""State of the orders and subscriptions that grant access to courses."""

from datetime import datetime
from typing import Self
from uuid import UUID

from sqlalchemy import Index, delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base


class AccessSource(Base):
    """Whether an order or subscription still grants access, according to the latest event of the payments service.

    Stored apart from the grants: a revocation that arrives before its grant must still apply to it.
    """

    __tablename__ = "access_sources"

    source: Mapped[str] = mapped_column(primary_key=True)  # order or subscription
    source_id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    status: Mapped[str]  # active, suspended or revoked; grants of this source get the same status
    reason: Mapped[str | None]
    version: Mapped[int]  # of the last applied event of the source
    changed_at: Mapped[datetime]

    __table_args__ = (Index("ix_access_sources_user_id", "user_id"), {"schema": "courses"})

    @classmethod
    def apply(
        cls,
        session: Session,
        source: tuple[str, UUID],
        *,
        user_id: UUID,
        status: str,
        reason: str | None,
        version: int | None,
        at: datetime,
    ) -> bool:
        """Store a new state; return False if this version or a later one was applied before.

        A call without a version comes from outside the bridge and is always applied.
        """
        kind, source_id = source
        state = {"status": status, "reason": reason, "changed_at": at}
        row = insert(cls).values(source=kind, source_id=str(source_id), user_id=user_id, version=version or 0, **state)
        stored = row.on_conflict_do_update(
            index_elements=["source", "source_id"],
            set_=state | ({} if version is None else {"version": version}),
            where=None if version is None else cls.version < row.excluded.version,
        )
        return session.execute(stored.returning(cls.version)).first() is not None

    @classmethod
    def get_or_create_for_update(
        cls, session: Session, source: str, source_id: str, *, user_id: UUID, at: datetime
    ) -> Self:
        """Return the state of a source, locked; created as active if no event has changed it yet.

        Because of the lock, a concurrent revocation waits for the grant and then applies to it.
        """
        row = {
            "source": source,
            "source_id": source_id,
            "user_id": user_id,
            "status": "active",
            "version": 0,
            "changed_at": at,
        }
        if session.connection().scalar(_INSERT_ONCE, row) is not None:
            return cls(**row)
        return session.get_one(cls, (source, source_id), with_for_update=True, populate_existing=True)

    @classmethod
    def erase(cls, session: Session, user_id: UUID) -> None:
        """Delete the sources of an erased user."""
        session.execute(delete(cls).where(cls.user_id == user_id))


# Built once: building a statement takes longer than executing it.
_INSERT_ONCE = insert(AccessSource).on_conflict_do_nothing().returning(AccessSource.source_id)
