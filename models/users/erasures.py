"""Account erasures: which services have erased their data, and the receipt for the user."""

import hashlib
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID

import msgspec
from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

import settings
from core.db import Base
from models.errors import AccountErased
from models.events import RetainedData


class Erasure(Base):
    """The erasure of an account. Its id is the id of the operation that shows the receipt."""

    __tablename__ = "erasures"
    __table_args__ = ({"schema": "users"},)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(unique=True)
    sub_hash: Mapped[str]
    missing: Mapped[list[str]]  # services that have not published USER_DATA_ERASED yet
    receipt: Mapped[list[dict[str, Any]]]  # [{"service", "erased_at", "rows", "retained"}]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]

    @classmethod
    def create(cls, *, id: UUID, user_id: UUID, sub: str, services: list[str], at: datetime) -> Self:  # noqa: A002 the column's name
        """Create an erasure that waits for the services in ``asked``."""
        return cls(id=id, user_id=user_id, sub_hash=_hash(sub), missing=services, receipt=[], started_at=at)

    @classmethod
    def get_for_update(cls, session: Session, user_id: UUID) -> Self:
        """Return the erasure of a user, locked, because two services may finish concurrently."""
        return session.scalars(select(cls).where(cls.user_id == user_id).with_for_update()).one()

    @classmethod
    def find_latest(cls, session: Session, sub: str) -> Self | None:
        """Return the latest erasure of an account with this ``sub``; None if there is none."""
        theirs = select(cls).where(cls.sub_hash == _hash(sub)).order_by(cls.started_at.desc()).limit(1)
        return session.scalars(theirs).one_or_none()

    def record_service_result(self, service: str, *, rows: int, kept: list[RetainedData], at: datetime) -> bool:
        """Add the result of a service to the receipt; return True if it was the last one."""
        if service not in self.missing:
            return False
        part = {"service": service, "erased_at": at, "rows": rows, "retained": kept}
        self.receipt = sorted([*self.receipt, msgspec.to_builtins(part)], key=lambda each: each["service"])
        self.missing = [each for each in self.missing if each != service]
        if self.missing:
            return False
        self.finished_at = at
        return True

    def to_response(self) -> dict[str, Any]:
        """Return the result of the operation."""
        return {"user_id": self.user_id, "services": self.receipt}


class ErasedSub(Base):
    """The hash of an erased ``sub``. Late webhooks, and tokens that are still valid, must not recreate the account."""

    __tablename__ = "erased_subs"
    __table_args__ = ({"schema": "users"},)

    sub_hash: Mapped[str] = mapped_column(primary_key=True)
    erased_at: Mapped[datetime]
    retained_until: Mapped[datetime]

    @classmethod
    def upsert(cls, session: Session, sub: str, *, at: datetime) -> None:
        """Store that this ``sub`` was erased, for as long as its tokens may be valid or webhooks may be late."""
        row = insert(cls).values(
            sub_hash=_hash(sub), erased_at=at, retained_until=at + timedelta(days=settings.ERASED_SUBS_RETENTION_DAYS)
        )
        times = {"erased_at": row.excluded.erased_at, "retained_until": row.excluded.retained_until}
        session.execute(
            row.on_conflict_do_update(
                index_elements=["sub_hash"], set_=times, where=cls.erased_at < row.excluded.erased_at
            )
        )

    @classmethod
    def find_erased_at(cls, session: Session, sub: str) -> datetime | None:
        return session.connection().scalar(_ERASED_AT, {"sub_hash": _hash(sub)})

    @classmethod
    def require_not_erased(cls, session: Session, sub: str) -> None:
        """Raise AccountErased if this ``sub`` was erased."""
        if cls.find_erased_at(session, sub):
            raise AccountErased

    @classmethod
    def remove(cls, session: Session, sub: str) -> None:
        """Delete the entry, because the user has signed up again."""
        session.execute(delete(cls).where(cls.sub_hash == _hash(sub)))

    @classmethod
    def prune(cls, session: Session, *, at: datetime) -> None:
        session.execute(delete(cls).where(cls.retained_until < at))


# Built once: building a statement takes longer than executing it.
_ERASED_AT = select(ErasedSub.erased_at).where(ErasedSub.sub_hash == bindparam("sub_hash"))


def _hash(sub: str) -> str:
    return hashlib.sha256(sub.encode()).hexdigest()
