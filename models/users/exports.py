"""Data exports: requests of users, and which services have their part ready."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from sqlalchemy import Index, delete, select, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Aggregate, Base
from models.errors import NotFound
from models.events import UserExportRequested


class Export(Aggregate, Base):
    """A data export. Its id is the id of the operation; each service stores its own part (models/personal_data.py).

    It is an aggregate of its own, so that a request does not change the version of the profile.
    """

    __tablename__ = "exports"
    __table_args__ = (
        Index("ux_exports_open", "user_id", unique=True, postgresql_where=text("finished_at IS NULL")),
        {"schema": "users"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    services: Mapped[list[str]]
    missing: Mapped[list[str]]  # services whose part is not ready yet
    requested_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]

    @classmethod
    def create(cls, *, id: UUID, user_id: UUID, services: list[str], at: datetime) -> Self:  # noqa: A002 the column's name
        """Create an export that waits for the services in ``asked``."""
        return cls(id=id, version=0, user_id=user_id, services=services, missing=services, requested_at=at)

    @classmethod
    def find_unfinished(cls, session: Session, user_id: UUID) -> Self | None:
        """Return the unfinished export of a user, if any; a unique index allows one."""
        return session.scalars(select(cls).where(cls.user_id == user_id, cls.finished_at.is_(None))).one_or_none()

    @classmethod
    def get_latest_finished(cls, session: Session, user_id: UUID) -> Self:
        """Return the latest finished export of a user. Raises NotFound."""
        finished = select(cls).where(cls.user_id == user_id, cls.finished_at.is_not(None))
        export = session.scalars(finished.order_by(cls.finished_at.desc()).limit(1)).one_or_none()
        if export is None:
            raise NotFound("finished export of user", str(user_id))
        return export

    @classmethod
    def get_for_update(cls, session: Session, export_id: UUID) -> Self | None:
        """Return an export, locked; None if its user was erased."""
        return session.get(cls, export_id, with_for_update=True, populate_existing=True)

    @classmethod
    def erase(cls, session: Session, user_id: UUID) -> int:
        """Delete the exports of a user; return their number."""
        return len(session.scalars(delete(cls).where(cls.user_id == user_id).returning(cls.id)).all())

    def requested_event(self) -> UserExportRequested:
        return UserExportRequested(user_id=self.user_id, export_id=self.id, requested_at=self.requested_at)

    def record_service_part(self, service: str, *, at: datetime) -> bool:
        """Record that the part of a service is ready; return True if it was the last one."""
        if service not in self.missing:
            return False
        self.missing = [each for each in self.missing if each != service]
        if self.missing:
            return False
        self.finished_at = at
        return True

    def to_response(self) -> dict[str, Any]:
        """Return the data by which the gateway collects the parts."""
        return {
            "id": self.id,
            "user_id": self.user_id,
            "services": self.services,
            "requested_at": self.requested_at,
            "finished_at": self.finished_at,
        }
