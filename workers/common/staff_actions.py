"""Task behind the HTTP API for the audit log: every service lists the actions that it recorded."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from core.bus.staff_actions import AuditFilters, StaffAction
from workers.runtime.tasks import per_service_task


@per_service_task
def list_staff_actions(
    session: Session,
    *,
    service: str,
    limit: int,
    before: UUID | None,
    actor: str | None,
    subject_id: UUID | None,
    kind: str | None = None,
    command: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[dict[str, Any]]:
    """Return at most ``limit`` staff actions of a service with an id below ``before``, the newest first."""
    filters = AuditFilters(actor=actor, subject_id=subject_id, kind=kind, command=command, since=since, until=until)
    found = StaffAction.list_newest(session, service, before=before, filters=filters, limit=limit)
    return [action.to_response() for action in found]
