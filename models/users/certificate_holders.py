"""The names on certificates: each as it was when the certificate was issued, or as an administrator corrected it."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base, PrivateText


class CertificateHolder(Base):
    """The name on one certificate. Only this service stores names, so it is kept here and not with the certificate."""

    __tablename__ = "certificate_holders"
    __table_args__ = ({"schema": "users"},)

    code: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    name: Mapped[PrivateText]
    recorded_at: Mapped[datetime]

    @classmethod
    def record(cls, session: Session, *, code: str, user_id: UUID, name: str, at: datetime) -> None:
        """Store the name of the day of issue. A name that is already stored stays."""
        row = {"code": code, "user_id": user_id, "name": name, "recorded_at": at}
        session.execute(insert(cls).values(**row).on_conflict_do_nothing())

    @classmethod
    def correct(cls, session: Session, *, code: str, user_id: UUID, name: str, at: datetime) -> None:
        """Replace the name on a certificate."""
        row = {"code": code, "user_id": user_id, "name": name, "recorded_at": at}
        changed = {"name": name, "recorded_at": at}
        session.execute(insert(cls).values(**row).on_conflict_do_update(index_elements=[cls.code], set_=changed))

    @classmethod
    def find_name(cls, session: Session, code: str) -> str | None:
        return session.scalar(select(cls.name).where(cls.code == code))

    @classmethod
    def list_for_user(cls, session: Session, user_id: UUID) -> list[dict[str, Any]]:
        """Return the names on the certificates of a user, for a data export."""
        rows = session.scalars(select(cls).where(cls.user_id == user_id).order_by(cls.recorded_at))
        return [{"code": row.code, "name": row.name, "recorded_at": row.recorded_at} for row in rows]

    @classmethod
    def erase(cls, session: Session, user_id: UUID) -> int:
        """Delete the names on the certificates of a user; return their number."""
        return len(session.scalars(delete(cls).where(cls.user_id == user_id).returning(cls.code)).all())
