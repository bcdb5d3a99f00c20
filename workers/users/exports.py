"""All that is kept of a person: asked of every service by USER_EXPORT_REQUESTED, laid out by each for itself."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from celery_app import SERVICES
from models.base import now
from models.events import UserDataExported, UserExportRequested
from models.operations import Operation
from models.outbox import record
from models.personal import lay_out
from models.users import Export, User
from workers import task

EXPORT = "users.request_export"
HREF = "/v1/me/export"


@task
def request_export(session: Session, *, user_id: UUID, owner: str) -> dict[str, Any]:
    """Have all that is kept of a user laid out; returns the operation, that of the export under way where one is.

    Raises NotFound.
    """
    User.locked(session, user_id)  # who asks twice waits here
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
    """Lay out the profile."""
    export, user = Export.locked(session, event.export_id), session.get_one(User, event.user_id)
    if export:
        profile = {**user.view(), "sub": user.sub, "identity_name": user.identity_name}
        lay_out(session, "users", event, {"profile": profile}, told_of=export)


@task
def gather_export(session: Session, *, event: UserDataExported) -> None:
    """Note that a part is ready; the last one ends the operation. Of a user who has gone meanwhile there is none."""
    export = Export.locked(session, event.export_id)
    if export and export.answer(event.service, at=event.exported_at):
        result = {"href": HREF, "services": export.services}
        Operation.end(session, export.id, {"result": result}, at=now())


@task
def show_export(session: Session, *, user_id: UUID) -> dict[str, Any]:
    """The last finished export of a user, by which the gateway collects its parts. Raises NotFound."""
    return Export.last_finished(session, user_id).view()
