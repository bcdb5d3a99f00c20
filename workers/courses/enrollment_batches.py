"""Enroll and unenroll people by their addresses: a job executes the rows of a batch in pages.

A page of rows, their results and what they change are one transaction: each row is executed once, also if the worker is
killed. An address that no user has verified is invited; the invitation takes effect when a user verifies it.
"""

import time
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy.orm import Session

import settings
from core.bus.operations import Operation
from core.db import utc_now
from core.fault_injection import crash_point
from models.commands import CreateEnrollmentBatch
from models.commands.courses import Caller
from models.commands.enrollment_batches import BatchRow
from models.courses.course import Course
from models.courses.enrollment_batches import EnrollmentBatch, EnrollmentBatchRow
from models.courses.enrollments import Enrollment
from models.courses.grants import PAID_SOURCES
from models.courses.invitations import Address, Invitation
from models.courses.versions import CourseVersion
from models.errors import EndInPast, InsufficientPermission, NotFound
from models.events import UserDeleted, UserUpdated
from models.personal_data import is_erased
from workers import job, projection, task
from workers.runtime.execution import Transactions

from .access import revoke_access
from .access_ends import grant_by_staff

PAGE_SIZE = 50  # rows of a transaction, which holds the lock of the course's counter: enrollments wait for it
_RUN_SECONDS = 20.0  # then the next run of the job continues


@task
def create_enrollment_batch(
    session: Session,
    *,
    course_id: UUID,
    caller: Caller,
    owner: str,
    action: str,
    rows: list[BatchRow],
    ends_at: datetime | None = None,
) -> dict[str, Any]:
    """Store a batch that a job executes row by row; return its operation.

    Instructors enroll in free courses, staff in any. Raises NotFound, InsufficientPermission, EndInPast,
    EnrollmentBatchesOpen.
    """
    course = Course.get_for_update(session, str(course_id), caller)
    CourseVersion.require_published(session, course_id)
    if course.price_minor and not caller.admin:
        raise InsufficientPermission("courses:admin")
    at = utc_now()
    if ends_at and ends_at <= at:
        raise EndInPast(ends_at.isoformat())
    operation = Operation.start_async(kind=CreateEnrollmentBatch.task_name, owner=owner, at=at)
    EnrollmentBatch.create(
        session,
        rows,
        id=operation.id,
        course_id=course_id,
        author_id=caller.user_id,
        owner=owner,
        action=action,
        ends_at=ends_at,
        at=at,
    )
    session.add(operation)
    return operation.to_response()


@task
def list_enrollment_batches(
    session: Session, *, course_id: UUID, caller: Caller, after: UUID | None, limit: int
) -> dict[str, Any]:
    """Return a page of the batches of a course, the newest first: {"items", "next"}. Raises NotFound."""
    _require_taught(session, course_id, caller)
    found = EnrollmentBatch.list_page(session, course_id, after=after, limit=limit + 1)
    shown = found[:limit]
    return {"items": [each.to_response() for each in shown], "next": shown[-1].id if len(found) > limit else None}


@task
def show_enrollment_batch(session: Session, *, course_id: UUID, batch_id: UUID, caller: Caller) -> dict[str, Any]:
    """Return a batch with its progress. Raises NotFound."""
    _require_taught(session, course_id, caller)
    return EnrollmentBatch.get(session, course_id, batch_id).to_response()


@task
def list_enrollment_batch_rows(
    session: Session,
    *,
    course_id: UUID,
    batch_id: UUID,
    caller: Caller,
    result: str | None,
    after: int | None,
    limit: int,
) -> dict[str, Any]:
    """Return a page of the rows of a batch with their results: {"items", "next"}. Raises NotFound."""
    _require_taught(session, course_id, caller)
    batch = EnrollmentBatch.get(session, course_id, batch_id)
    found = EnrollmentBatchRow.list_page(session, batch.id, result=result, after=after, limit=limit + 1)
    shown = found[:limit]
    return {"items": [each.to_response() for each in shown], "next": shown[-1].line if len(found) > limit else None}


@task
def update_address(session: Session, *, event: UserUpdated) -> None:
    """Store the address of a user; if it is verified, its invitations take effect."""
    if is_erased(session, "courses", event.user_id):
        return
    store_address(session, event=event)
    _accept_invitations(session, user_id=event.user_id)


def store_address(session: Session, *, event: UserUpdated) -> None:
    """Store the address of a user, unless a newer one is stored."""
    Address.upsert(
        session, event.user_id, version=event.version, email=event.pii.email, verified=event.pii.email_verified
    )


def erase_address(session: Session, *, event: UserDeleted) -> None:
    """Delete the address of an erased user."""
    Address.erase(session, event.user_id)


def _clear_address(session: Session, key: str) -> None:
    Address.erase(session, UUID(key))


projection(
    "courses.addresses",
    clear_rows=_clear_address,
    handlers=[store_address, erase_address],
)


@job
def run_enrollment_batches(transactions: Transactions) -> None:
    """Execute the rows of batches, a page in each transaction, and invitations whose address is verified by now."""
    until = time.monotonic() + _RUN_SECONDS
    at = utc_now()
    with transactions.begin() as session:
        _accept_invitations(session)  # of those who verified their address while the row was executed
        EnrollmentBatch.prune(session, before=at - timedelta(days=settings.ENROLLMENT_BATCHES_RETENTION_DAYS))
        Invitation.prune(session, before=at - timedelta(days=settings.INVITATIONS_RETENTION_DAYS))
    while time.monotonic() < until:
        with transactions.begin() as session:
            batch = EnrollmentBatch.find_oldest_for_update(session)
            if batch is None:
                return
            _execute_page(session, batch)
        crash_point("after a page", "courses.run_enrollment_batches")


def _execute_page(session: Session, batch: EnrollmentBatch) -> None:
    rows = batch.next_rows(session, limit=PAGE_SIZE)
    title = CourseVersion.get_latest(session, batch.course_id).title
    execute = _enroll if batch.action == "enroll" else _unenroll
    for row in sorted(rows, key=lambda each: each.email or ""):
        row.result = execute(session, batch, title, row.email or "")
    batch.store_results(row.result for row in rows)
    if rows:
        return
    batch.finished_at = at = utc_now()
    operation = session.get(Operation, batch.id, with_for_update=True)
    if operation and not operation.finished_at:  # otherwise its owner was erased
        operation.finish({"result": msgspec.to_builtins(batch.to_response())}, at)


def _enroll(session: Session, batch: EnrollmentBatch, title: str, email: str) -> str:
    """Enroll the user of an address, or invite the address; return the result of the row."""
    at = utc_now()
    if batch.ends_at and batch.ends_at <= at:
        return "end_in_past"
    user_id = Address.find_user_id(session, email)
    if user_id is None:
        is_new = Invitation.insert_once(
            session, email, batch.course_id, invited_by=batch.author_id, ends_at=batch.ends_at, at=at
        )
        return "invited" if is_new else "already_invited"
    enrollment = Enrollment.find(session, user_id, batch.course_id, for_update=True)
    if enrollment and enrollment.has_access(at) and not _ends_before(enrollment.expires_at(at), batch.ends_at):
        return "already_enrolled"
    _grant(session, batch, user_id, title)
    return "enrolled"


def _ends_before(ends_at: datetime | None, wanted: datetime | None) -> bool:
    return ends_at is not None and (wanted is None or ends_at < wanted)


def _unenroll(session: Session, batch: EnrollmentBatch, _title: str, email: str) -> str:
    """End access that was not bought, or withdraw an invitation; return the result of the row."""
    is_withdrawn = Invitation.withdraw(session, email, batch.course_id)
    user_id = Address.find_user_id(session, email)
    enrollment = user_id and Enrollment.find(session, user_id, batch.course_id, for_update=True)
    if not user_id or not enrollment or not enrollment.has_access(utc_now()):
        return "invitation_withdrawn" if is_withdrawn else "not_enrolled"
    giving = [grant for grant in enrollment.grants if grant.gives_access(utc_now())]
    if all(grant.source in PAID_SOURCES for grant in giving):
        return "access_purchased"
    left = revoke_access(session, user_id=user_id, course_id=batch.course_id)
    return "access_purchased" if left["access"] else "unenrolled"


def _grant(session: Session, of: EnrollmentBatch | Invitation, user_id: UUID, title: str) -> None:
    granted_by = of.author_id if isinstance(of, EnrollmentBatch) else of.invited_by
    grant_by_staff(
        session,
        user_id=user_id,
        course_id=of.course_id,
        course_title=title,
        granted_by=granted_by,
        ends_at=of.ends_at,
    )


def _accept_invitations(session: Session, *, user_id: UUID | None = None) -> None:
    """Give access by invitations of verified addresses, of one user or of any."""
    taken = Invitation.take(session, limit=PAGE_SIZE, user_id=user_id)
    titles = CourseVersion.list_titles(session, {invitation.course_id for _, invitation in taken}) if taken else {}
    for invited_id, invitation in taken:
        is_over = invitation.ends_at is not None and invitation.ends_at <= utc_now()
        if not is_over and not is_erased(session, "courses", invited_id):
            _grant(session, invitation, invited_id, titles[invitation.course_id])


def _require_taught(session: Session, course_id: UUID, caller: Caller) -> None:
    if not Course.get(session, str(course_id)).is_taught_by(caller):
        raise NotFound("course", str(course_id))
