"""Personal-data tasks that every service has."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from models.personal import ExportPart

from ._tasks import task_of_every_service


@task_of_every_service
def show_export_part(session: Session, *, service: str, user_id: UUID, export_id: UUID) -> dict[str, Any]:
    """Return the data that ``service`` stored for a user's export. Raises NotFound."""
    return ExportPart.of(session, service, user_id, export_id).data
