"""Data exports. USER_EXPORT_REQUESTED asks every service to store its part; the gateway collects the parts."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from models.base import now
from models.events import UserDataExported, UserExportRequested
from models.operations import Operation
from models.outbox import record
from models.personal import lay_out
from models.users import Export, User
from settings import SERVICES
from workers import task

EXPORT = "users.request_export"
HREF = "/v1/me/export"


@task
def request_export(session: Session, *, user_id: UUID, owner: str) -> dict[str, Any]:
    """Start an export of a user's data; return its operation. If an export is in progress, return that one.

    Raises NotFound.
    """
    User.locked(session, user_id)  # locks the row: concurrent requests start one export
    if export := Export.under_way(session, user_id):
        return Operation.of(session, export.id, owner=owner).view()
    operation = Operation.under_way(kind=EXPORT, owner=owner, at=now())
    session.add(operation)
    export = Export.begin(id=operation.id, user_id=user_id, asked=list(SERVICES), at=now())
    session.add(export)
    record(session, export, export.requested())
    return operation.view()


@task
def export_data(session: Session, *, event: UserExportRequested) -> None:
    """Export the profile."""
    export, user = Export.locked(session, event.export_id), session.get_one(User, event.user_id)
    if export:
        profile = {**user.view(), "sub": user.sub, "identity_name": user.identity_name}
        lay_out(session, "users", event, {"profile": profile}, told_of=export)


@task
def gather_export(session: Session, *, event: UserDataExported) -> None:
    """Record that a service's part is ready; the last one completes the operation.

    An export that no longer exists, because the user was erased, is ignored.
    """
    export = Export.locked(session, event.export_id)
    if export and export.answer(event.service, at=event.exported_at):
        result = {"href": HREF, "services": export.services}
        Operation.end(session, export.id, {"result": result}, at=now())


@task
def show_export(session: Session, *, user_id: UUID) -> dict[str, Any]:
    """Return a user's last finished export, from which the gateway collects the parts. Raises NotFound."""
    return Export.last_finished(session, user_id).view()
