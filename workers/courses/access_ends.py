"""Access with an end: staff set and change it, learners are notified before it, and the end is published when it comes.

The grants decide at every request, so that access ends at its time however late the sweep is.
"""

import time
from datetime import datetime
from typing import Any
from uuid import UUID

from redis.exceptions import RedisError
from sqlalchemy.orm import Session

from core.bus.outbox import record
from core.cache import invalidation_marker, progress_version_key, put_all
from core.db import utc_now
from core.log import get_logger
from models.commands.courses import Caller
from models.courses.course import Course
from models.courses.enrollments import Enrollment
from models.courses.learners import list_due_notices_for_update, list_expired_for_update
from models.courses.versions import CourseVersion
from models.errors import EndInPast, NotFound, PreconditionFailed
from workers import job, task
from workers.runtime.execution import Transactions

from .access import grant_course_access, record_access

log = get_logger(__name__)

_PAGE_SIZE = 100
_RUN_SECONDS = 10.0  # then the next run of the job continues


def grant_by_staff(
    session: Session,
    *,
    user_id: UUID,
    course_id: UUID,
    course_title: str,
    granted_by: UUID,
    ends_at: datetime | None,
) -> Enrollment:
    """Give a user access until ``ends_at``, also again after it was revoked or has expired. Raises EndInPast.

    Each member of staff has one grant for a user and course: a new one replaces the end of the earlier one.
    """
    if ends_at and ends_at <= utc_now():
        raise EndInPast(ends_at.isoformat())
    source = ("manual", str(granted_by))
    enrollment = grant_course_access(
        session,
        user_id=user_id,
        course_id=course_id,
        course_title=course_title,
        source=source[0],
        source_id=source[1],
        ends_at=ends_at,
    )
    at = utc_now()
    for grant in enrollment.grants:
        if (grant.source, grant.source_id) == source:
            grant.agreed_ends_at = ends_at
    record_access(session, enrollment, enrollment.restore(*source, course_title=course_title, at=at), at=at)
    return enrollment


@task
def show_course_learner(session: Session, *, course_id: UUID, user_id: UUID, caller: Caller) -> dict[str, Any]:
    """Return a learner of a course with their grants: {"version", "view"}. Raises NotFound."""
    if not Course.get(session, str(course_id)).is_taught_by(caller):
        raise NotFound("course", str(course_id))
    enrollment = Enrollment.find(session, user_id, course_id)
    if enrollment is None:
        raise NotFound("learner", str(user_id))
    return _response(enrollment)


@task
def change_access_end(
    session: Session,
    *,
    course_id: UUID,
    user_id: UUID,
    caller: Caller,
    expected_version: int,
    ends_at: datetime | None,
) -> dict[str, Any]:
    """Change when the access of a learner ends, also after its end; return as ``show_course_learner`` does.

    For the owner of the course and staff. Raises NotFound, NotCourseOwner, PreconditionFailed, EndInPast,
    AccessHasNoEnd, AccessSoldLonger.
    """
    course = Course.get(session, str(course_id))
    if not course.is_taught_by(caller):
        raise NotFound("course", str(course_id))
    course.require_owner(caller)
    enrollment = Enrollment.find(session, user_id, course_id, for_update=True)
    at = utc_now()  # after the lock: what the learner did until now was done with access
    if enrollment is None:
        raise NotFound("learner", str(user_id))
    if enrollment.version != expected_version:
        raise PreconditionFailed("learner", str(enrollment.version))
    if ends_at and ends_at <= at:
        raise EndInPast(ends_at.isoformat())
    title = CourseVersion.get_latest(session, course_id).title
    record_access(session, enrollment, enrollment.change_end(ends_at, course_title=title, at=at), at=at)
    return _response(enrollment)


def _response(enrollment: Enrollment) -> dict[str, Any]:
    at = utc_now()
    access = enrollment.to_access_response(at=at)
    view = {**enrollment.to_learner_response(at=at), "version": enrollment.version, "grants": access["grants"]}
    return {"version": enrollment.version, "view": view}


@job
def sweep_access_ends(transactions: Transactions) -> None:
    """Publish ends of access that have come, then notify learners whose access ends soon; a page a transaction."""
    until = time.monotonic() + _RUN_SECONDS
    for page in (_end_page, _announce_page):
        while time.monotonic() < until:
            with transactions.begin() as session:
                user_ids = page(session)
            if not user_ids:
                break
            _invalidate_pages(user_ids)


def _end_page(session: Session) -> list[UUID]:
    at = utc_now()
    expired = list_expired_for_update(session, at=at, limit=_PAGE_SIZE)
    for enrollment in expired:
        record_access(session, enrollment, None, at=at)
    return [enrollment.user_id for enrollment in expired]


def _announce_page(session: Session) -> list[UUID]:
    due = list_due_notices_for_update(session, at=utc_now(), limit=_PAGE_SIZE)
    titles = CourseVersion.list_titles(session, {enrollment.course_id for enrollment in due})
    for enrollment in due:
        if ending := enrollment.take_end_notice(titles[enrollment.course_id]):
            record(session, enrollment, ending)
    return [enrollment.user_id for enrollment in due]


def _invalidate_pages(user_ids: list[UUID]) -> None:
    """Let learners' pages show the end at once."""
    try:
        put_all([(progress_version_key(user_id), invalidation_marker()) for user_id in user_ids])
    except RedisError as error:
        log.warning("cache is unavailable", reason=str(error))
