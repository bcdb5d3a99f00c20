"""Task behind the HTTP API for the audit log: every service lists the actions that it recorded."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from core.bus.staff_actions import StaffAction
from workers.runtime.tasks import per_service_task


@per_service_task
def list_staff_actions(
    session: Session, *, service: str, limit: int, before: UUID | None, actor: str | None, subject_id: UUID | None
) -> list[dict[str, Any]]:
    """Return at most ``limit`` staff actions of a service with an id below ``before``, the newest first."""
    found = StaffAction.list_newest(session, service, before=before, actor=actor, subject_id=subject_id, limit=limit)
    return [action.to_response() for action in found]
