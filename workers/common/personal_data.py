"""Personal-data tasks that every service has."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from core.bus.export_parts import ExportPart
from workers.runtime.tasks import per_service_task


@per_service_task
def show_export_part(session: Session, *, service: str, user_id: UUID, export_id: UUID) -> dict[str, Any]:
    """Return the data that ``service`` stored for a user's export. Raises NotFound."""
    return ExportPart.get(session, service, user_id, export_id).data
