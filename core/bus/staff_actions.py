"""Audit log: a row for each command of staff and of machine clients, and for each read of another person's data.

It is inserted in the transaction of the command or query.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from sqlalchemy import Index, cast, func, literal_column, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base, new_id, utc_now

CHANGE, READ = "change", "read"


@dataclass(frozen=True, kw_only=True)
class AuditFilters:
    """Filters of the audit log; None does not filter. ``subject_id`` is an id among those in the command."""

    actor: str | None = None
    subject_id: UUID | None = None
    kind: str | None = None
    command: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class StaffAction(Base):
    """A command or a recorded read that was executed. It holds no names or addresses of people."""

    __tablename__ = "staff_actions"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    actor: Mapped[str]  # user:<id> or client:<id>
    task: Mapped[str]
    subject: Mapped[dict[str, Any]]  # the ids in the command
    kind: Mapped[str] = mapped_column(default=CHANGE)
    changes: Mapped[list[dict[str, Any]] | None]  # the changed rows before and after: core/bus/changed_rows.py
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
        filters: AuditFilters,
        limit: int,
    ) -> list[Self]:
        """Return at most ``limit`` actions in ``service`` with an id below ``before``, the newest first."""
        wanted = select(cls).where(cls.task.startswith(f"{service}.", autoescape=True))
        if before:
            wanted = wanted.where(cls.id < before)
        if filters.actor:
            wanted = wanted.where(cls.actor == filters.actor)
        if filters.subject_id:
            wanted = wanted.where(_SUBJECT_IDS.contains(cast([str(filters.subject_id)], JSONB)))
        if filters.kind:
            wanted = wanted.where(cls.kind == filters.kind)
        if filters.command:
            wanted = wanted.where(cls.task == filters.command)
        if filters.since:
            wanted = wanted.where(cls.done_at >= filters.since)
        if filters.until:
            wanted = wanted.where(cls.done_at < filters.until)
        return list(session.scalars(wanted.order_by(cls.id.desc()).limit(limit)))

    @classmethod
    def prune(cls, session: Session, *, older_than: datetime, limit: int) -> int:
        """Delete up to ``limit`` of the oldest entries; return their number.

        Only the function in the database may delete, and nothing that is younger than 365 days.
        """
        call = select(func.bus.prune_staff_actions(older_than, limit))
        return int(session.scalar(call) or 0)

    def to_response(self) -> dict[str, Any]:
        """Return an item of GET /v1/audit."""
        return {
            "id": self.id,
            "kind": self.kind,
            "actor": self.actor,
            "command": self.task,
            "subject": self.subject,
            "changes": self.changes or [],
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
