"""Data exports. USER_EXPORT_REQUESTED asks every service to store its part; the gateway collects the parts."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from core.bus.operations import Operation
from core.bus.outbox import record
from core.db import utc_now
from models.commands import RequestExport
from models.events import UserDataExported, UserExportRequested
from models.personal_data import store_export_part
from models.users import CertificateHolder, Export, User
from settings import SERVICES
from workers import task

HREF = "/v1/me/export"


@task
def request_export(session: Session, *, user_id: UUID, owner: str) -> dict[str, Any]:
    """Start an export of a user's data; return its operation. If an export is in progress, return that one.

    Raises NotFound.
    """
    User.get_for_update(session, user_id)  # locks the row: concurrent requests start one export
    if export := Export.find_unfinished(session, user_id):
        return Operation.get(session, export.id, owner=owner).to_response()
    operation = Operation.start_async(kind=RequestExport.task_name, owner=owner, at=utc_now())
    session.add(operation)
    export = Export.create(id=operation.id, user_id=user_id, services=list(SERVICES), at=utc_now())
    session.add(export)
    record(session, export, export.requested_event())
    return operation.to_response()


@task
def export_data(session: Session, *, event: UserExportRequested) -> None:
    """Export the profile and the names on certificates."""
    export, user = Export.get_for_update(session, event.export_id), session.get_one(User, event.user_id)
    if export:
        profile = {**user.to_response(), "sub": user.sub, "identity_name": user.identity_name}
        data = {"profile": profile, "certificates": CertificateHolder.list_for_user(session, user.id)}
        store_export_part(session, "users", event, data, aggregate=export)


@task
def record_service_export(session: Session, *, event: UserDataExported) -> None:
    """Record that a service's part is ready; the last one completes the operation.

    An export that no longer exists, because the user was erased, is ignored.
    """
    export = Export.get_for_update(session, event.export_id)
    if export and export.record_service_part(event.service, at=event.exported_at):
        result = {"href": HREF, "services": export.services}
        Operation.record_attempt_result(session, export.id, {"result": result}, at=utc_now())


@task
def show_export(session: Session, *, user_id: UUID) -> dict[str, Any]:
    """Return a user's last finished export, from which the gateway collects the parts. Raises NotFound."""
    return Export.get_latest_finished(session, user_id).to_response()
