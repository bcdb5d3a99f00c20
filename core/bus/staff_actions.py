"""Audit log: a row for each command of staff and of machine clients, inserted in the command's transaction."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from sqlalchemy import Index, cast, func, literal_column, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, Session, mapped_column

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

    @classmethod
    def list_newest(
        cls,
        session: Session,
        service: str,
        *,
        before: UUID | None,
        actor: str | None,
        subject_id: UUID | None,
        limit: int,
    ) -> list[Self]:
        """Return at most ``limit`` actions in ``service`` with an id below ``before``, the newest first.

        ``actor`` and ``subject_id``, an id among those in the command, narrow the list.
        """
        wanted = select(cls).where(cls.task.startswith(f"{service}.", autoescape=True))
        if before:
            wanted = wanted.where(cls.id < before)
        if actor:
            wanted = wanted.where(cls.actor == actor)
        if subject_id:
            wanted = wanted.where(_SUBJECT_IDS.contains(cast([str(subject_id)], JSONB)))
        return list(session.scalars(wanted.order_by(cls.id.desc()).limit(limit)))

    def to_response(self) -> dict[str, Any]:
        """Return an item of GET /v1/staff-actions."""
        return {
            "id": self.id,
            "actor": self.actor,
            "command": self.task,
            "subject": self.subject,
            "request_id": self.request_id,
            "done_at": self.done_at,
        }


# The expression of the index ix_staff_actions_subject_ids; a bound parameter in it would not match the index.
_SUBJECT_IDS = func.jsonb_path_query_array(StaffAction.subject, literal_column("'$.*'"), type_=JSONB)


def uuid_fields(message: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields of a message that are UUIDs: they identify what the command changes."""
    return {name: str(value) for name, value in message.items() if _is_id(value)}


def _is_id(value: Any) -> bool:
    try:
        return isinstance(value, UUID) or (isinstance(value, str) and bool(UUID(value)))
    except ValueError:
        return False
