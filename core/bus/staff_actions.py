"""Audit log: a row for each command of staff and of machine clients, inserted in the command's transaction."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from core.db import Base, new_id, utc_now


class StaffAction(Base):
    """A command that was executed. It holds ids only, no names or addresses of people."""

    __tablename__ = "staff_actions"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    actor: Mapped[str]  # user:<id> or client:<id>
    task: Mapped[str]
    subject: Mapped[dict[str, Any]]  # the ids in the command
    request_id: Mapped[str | None]
    done_at: Mapped[datetime]

    __table_args__ = (
        Index("ix_staff_actions_actor", "actor", "done_at"),
        {"schema": "bus"},
    )

    @classmethod
    def create(cls, task: str, *, actor: str, subject: dict[str, str], request_id: str | None) -> Self:
        """Create the row of a command that is executed now."""
        return cls(id=new_id(), actor=actor, task=task, subject=subject, request_id=request_id, done_at=utc_now())


def uuid_fields(message: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields of a message that are UUIDs: they identify what the command changes."""
    return {name: str(value) for name, value in message.items() if _is_id(value)}


def _is_id(value: Any) -> bool:
    try:
        return isinstance(value, UUID) or (isinstance(value, str) and bool(UUID(value)))
    except ValueError:
        return False
