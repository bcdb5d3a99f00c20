"""Personal data in the bus tables: export and erasure, which are the same for every service.

The bus tables hold copies of personal data: events, responses, commands and dead letters. A service that erases a user
clears them too. An erased event can still be decoded and replayed: its ``pii`` is a Person without email and name.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self
from uuid import UUID

import msgspec
from sqlalchemy import bindparam, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute, Mapped, Session, mapped_column

from core.bus.dead_letters import DeadLetter
from core.bus.export_parts import ExportPart
from core.bus.idempotency import IdempotencyKey
from core.bus.jobs import JobRun
from core.bus.operations import Operation
from core.bus.outbox import OutboxEvent, record
from core.db import Aggregate, Base, utc_now

from .errors import ProjectionNotReady
from .events import Account, RetainedData, UserDataErased, UserDataExported, UserDeleted, UserExportRequested

# The operation that shows the receipt of the erasure. It is kept after the account, so that the user can read it.
ERASURE = "users.erase_user"

_ERASED_PERSON = {"email": None, "name": None}
_ADDRESS = r"[[:alnum:]._%+-]+@[[:alnum:].-]+"


class DataSubject(Aggregate, Base):
    """The aggregate of a service's events about a user's data, and whether the service has erased that data."""

    __tablename__ = "data_subjects"
    __table_args__ = ({"schema": "bus"},)

    service: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    erased_at: Mapped[datetime | None]

    @property
    def aggregate_id(self) -> str:
        return str(self.user_id)

    @classmethod
    def get_or_create_for_update(cls, session: Session, service: str, user_id: UUID) -> Self:
        """Return the row, locked; created if it does not exist."""
        row = {"service": service, "user_id": user_id, "version": 0}
        session.execute(insert(cls).values(row).on_conflict_do_nothing())
        return session.get_one(cls, (service, user_id), with_for_update=True, populate_existing=True)


_ERASED_AT = select(DataSubject.erased_at).where(
    DataSubject.service == bindparam("service"), DataSubject.user_id == bindparam("user_id")
)


def is_erased(session: Session, service: str, user_id: UUID) -> bool:
    """Return whether ``service`` has erased this user. Events that arrive afterwards must be ignored."""
    return session.connection().scalar(_ERASED_AT, {"service": service, "user_id": user_id}) is not None


def store_export_part(
    session: Session,
    service: str,
    event: UserExportRequested,
    data: Mapping[str, Any],
    *,
    aggregate: Aggregate | None = None,
) -> None:
    """Store ``data`` as the part of ``service`` in an export and publish USER_DATA_EXPORTED.

    Does nothing for an erased user. ``aggregate`` is the locked aggregate that publishes the event, if an aggregate
    other than DataSubject publishes events under the user's id.
    """
    subject = DataSubject.get_or_create_for_update(session, service, event.user_id)
    if subject.erased_at:
        return
    stored = session.get(ExportPart, (service, event.user_id), populate_existing=True)
    if stored and stored.export_id >= event.export_id:  # UUIDv7: redelivered, or older than the stored part
        return
    part = {
        "service": service,
        "user_id": event.user_id,
        "export_id": event.export_id,
        "data": msgspec.to_builtins(data),
        "created_at": utc_now(),
    }
    upsert = insert(ExportPart).values(part).on_conflict_do_update(index_elements=["service", "user_id"], set_=part)
    session.execute(upsert)
    ready = UserDataExported(user_id=event.user_id, export_id=event.export_id, service=service, exported_at=utc_now())
    record(session, aggregate or subject, ready)


def erase_personal_data(
    session: Session,
    service: str,
    event: UserDeleted,
    *,
    rows: int,
    retained: list[RetainedData],
    aggregate: Aggregate | None = None,
) -> None:
    """Erase a user from the bus tables, after the service has erased its own ``rows``, and publish USER_DATA_ERASED.

    ``retained`` lists the data that the service retains. ``aggregate`` is as for ``store_export_part``. Raises
    ProjectionNotReady while a command of the user is running.
    """
    subject = DataSubject.get_or_create_for_update(session, service, event.user_id)
    if subject.erased_at:
        return  # redelivered: USER_DATA_ERASED has been recorded
    subject.erased_at = utc_now()
    erased = UserDataErased(
        user_id=event.user_id,
        service=service,
        rows=rows + _erase_bus_copies(session, service, event),
        retained=retained,
        erased_at=utc_now(),
    )
    record(session, aggregate or subject, erased)


def clear_account_identifier(session: Session, user_id: UUID) -> None:
    """Remove the ``sub`` from USER_DELETED, once every service has erased its data."""
    deletions = select(OutboxEvent).where(_of_user(OutboxEvent.payload, user_id), OutboxEvent.type == UserDeleted.type)
    for event in session.scalars(deletions.with_for_update()):
        event.payload = {**event.payload, "pii": msgspec.to_builtins(Account(sub=None))}


def _erase_bus_copies(session: Session, service: str, event: UserDeleted) -> int:
    parts = delete(ExportPart).where(ExportPart.service == service, ExportPart.user_id == event.user_id)
    rows = len(session.scalars(parts.returning(ExportPart.user_id)).all())
    rows += _clear_outbox(session, event.user_id)
    rows += _clear_dead_letters(session, event.user_id)
    if event.pii.sub:
        rows += _clear_commands(session, event.pii.sub, event.user_id)
    # The error of a failed job may contain an address; its owner is unknown, so all are masked.
    session.execute(
        update(JobRun)
        .where(JobRun.last_error.regexp_match(_ADDRESS))
        .values(last_error=func.regexp_replace(JobRun.last_error, _ADDRESS, "***", "g"))
    )
    return rows


def _clear_outbox(session: Session, user_id: UUID) -> int:
    theirs = select(OutboxEvent).where(_of_user(OutboxEvent.payload, user_id), OutboxEvent.type != UserDeleted.type)
    events = session.scalars(theirs.order_by(OutboxEvent.seq).with_for_update()).all()
    for event in events:
        event.payload = _without_pii(event.payload)
    return len(events)


def _clear_dead_letters(session: Session, user_id: UUID) -> int:
    theirs = select(DeadLetter).where(_of_user(DeadLetter.payload, user_id), DeadLetter.type != UserDeleted.type)
    letters = session.scalars(theirs.order_by(DeadLetter.seq).with_for_update()).all()
    for letter in letters:
        letter.payload = _without_pii(letter.payload)
        letter.reason = "erased"  # an error may quote the payload
    return len(letters)


def _clear_commands(session: Session, sub: str, user_id: UUID) -> int:
    theirs = or_(Operation.owner == sub, Operation.message["user_id"].astext == str(user_id))
    to_delete = select(Operation.id, Operation.leased_until).where(theirs, Operation.kind != ERASURE)
    operations = session.execute(to_delete.order_by(Operation.id).with_for_update()).all()
    if running := [operation.id for operation in operations if operation.leased_until]:
        raise ProjectionNotReady("outcome of operation", str(running[0]))
    ids = [operation.id for operation in operations]
    session.execute(delete(Operation).where(Operation.id.in_(ids)))
    answered = or_(
        func.starts_with(IdempotencyKey.scope, f"{sub} "),
        func.starts_with(IdempotencyKey.scope, f"respond-async {sub} "),
        (IdempotencyKey.scope == "operation") & IdempotencyKey.key.in_([str(each) for each in ids]),
    )
    keys = session.scalars(delete(IdempotencyKey).where(answered).returning(IdempotencyKey.key)).all()
    return len(ids) + len(keys)


def _of_user(payload: InstrumentedAttribute[dict[str, Any]], user_id: UUID) -> Any:
    """Return the condition for events of this user that contain personal data."""
    return (payload["user_id"].astext == str(user_id)) & payload.has_key("pii")


def _without_pii(payload: dict[str, Any]) -> dict[str, Any]:
    named = {"sub": "erased"} if "sub" in payload else {}
    return {**payload, **named, "pii": _ERASED_PERSON}
