"""Commands of the courses service that enroll and unenroll many people by their addresses."""

from datetime import datetime
from uuid import UUID

import msgspec

from core.commands import Command

from .courses import Caller


class BatchRow(msgspec.Struct, array_like=True):
    """A row of a batch as the client sent it."""

    line: int
    email: str


class CreateEnrollmentBatch(Command, service="courses"):
    """Store a batch that a job executes row by row, and return its operation."""

    course_id: UUID
    caller: Caller
    owner: str  # the caller's ``sub``
    action: str  # enroll, unenroll
    rows: list[BatchRow]
    ends_at: datetime | None = None


class ListEnrollmentBatches(Command, service="courses"):
    """Return a page of the batches of a course, the newest first."""

    course_id: UUID
    caller: Caller
    after: UUID | None
    limit: int


class ShowEnrollmentBatch(Command, service="courses"):
    """Return a batch with its progress."""

    course_id: UUID
    batch_id: UUID
    caller: Caller


class ListEnrollmentBatchRows(Command, service="courses"):
    """Return a page of the rows of a batch with their results, in the order of their lines."""

    course_id: UUID
    batch_id: UUID
    caller: Caller
    result: str | None
    after: int | None
    limit: int
