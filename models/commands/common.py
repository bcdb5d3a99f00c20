"""Commands that every service has."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from core.commands import ServiceCommand


class StoredEvent(msgspec.Struct):
    """An event as stored in an outbox."""

    type: str
    payload: dict[str, Any]
    version: int | None = None  # of its aggregate


class ListDeadLetters(ServiceCommand):
    """Return at most ``limit`` dead letters of a service with a number above ``after``, the oldest first."""

    status: str
    limit: int
    after: int


class ReplayDeadLetters(ServiceCommand):
    """Replay the open dead letters that have the handler and key of ``seq``, the oldest first."""

    seq: int


class AcceptOperation(ServiceCommand):
    """Store the command with the task ``kind`` for asynchronous execution and return its operation."""

    kind: str
    message: dict[str, Any]
    owner: str
    claim: dict[str, Any] | None


class CancelOperation(ServiceCommand):
    """Cancel an operation that has not started."""

    operation_id: UUID
    owner: str


class RunOperation(ServiceCommand):
    """Execute an operation, unless it is finished or in progress."""

    operation_id: UUID


class ShowOperation(ServiceCommand):
    """Return an operation of ``owner``."""

    operation_id: UUID
    owner: str


class ListOperations(ServiceCommand):
    """Return operations of ``owner`` (None: of everyone) with an id below ``before``, the newest first."""

    owner: str | None
    status: str | None
    limit: int
    before: UUID | None


class ListJobs(ServiceCommand):
    """Return the state of each kind of job of the service."""


class RunJobAgain(ServiceCommand):
    """Reopen a run of a job that failed for good; a worker starts it within a minute."""

    kind: str
    slot: datetime


class ShowStatus(ServiceCommand):
    """Return what waits and what has failed in the service, and the clock of its database."""


class ShowExportPart(ServiceCommand):
    """Return the data that ``service`` stored for a user's export."""

    user_id: UUID
    export_id: UUID


class ListQuarantined(ServiceCommand):
    """Return the quarantined events of a service with a number above ``after``, the oldest first."""

    limit: int
    after: int


class ReleaseQuarantined(ServiceCommand):
    """Release an event and the later ones of its key for publication."""

    seq: int


class ListStaffActions(ServiceCommand):
    """Return at most ``limit`` staff actions of a service with an id below ``before``, the newest first."""

    limit: int
    before: UUID | None
    actor: str | None
    subject_id: UUID | None
    kind: str | None = None
    command: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class Ping(ServiceCommand):
    """Do nothing: the worker that receives the message is alive."""


class ListProjections(ServiceCommand):
    """Return the projections of the service: their topic and event types, by name."""


class RebuildProjection(ServiceCommand):
    """Rebuild the rows of one key from all its events."""

    name: str
    key: str
    events: list[StoredEvent]
