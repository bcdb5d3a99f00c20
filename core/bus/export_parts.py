"""Parts of data exports: each service stores its own part of a user's export."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base
from core.errors import NotFound


class ExportPart(Base):
    """A service's part of a user's data export. The part of a newer export replaces the previous one."""

    __tablename__ = "export_parts"
    __table_args__ = ({"schema": "bus"},)

    service: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    export_id: Mapped[UUID]
    data: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]

    @classmethod
    def get(cls, session: Session, service: str, user_id: UUID, export_id: UUID) -> Self:
        """Return the part of an export. Raises NotFound, also for an export of another user."""
        part = session.get(cls, (service, user_id))
        if part is None or part.export_id != export_id:
            raise NotFound("export", str(export_id))
        return part
