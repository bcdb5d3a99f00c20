"""Published versions of a course: list them and restore one as the working copy."""

from typing import Any

from sqlalchemy.orm import Session

from core.bus.outbox import record
from core.db import utc_now
from models.commands.courses import Caller
from models.courses.course import Course
from models.courses.versions import CourseVersion
from workers import task


@task
def list_versions(session: Session, *, ref: str, caller: Caller, after: int | None, limit: int) -> dict[str, Any]:
    """Return a page of the published versions, the newest first: {"items", "next"}. Raises NotFound."""
    course = Course.get_for_update(session, ref, caller)
    found = CourseVersion.list_page(session, course.id, after=after, limit=limit + 1)
    shown = found[:limit]
    following = shown[-1].course_version if len(found) > limit else None
    return {"items": [version.to_list_item(course) for version in shown], "next": following}


@task
def restore_version(
    session: Session, *, ref: str, caller: Caller, expected_version: int, course_version: int
) -> dict[str, Any]:
    """Replace the working copy by a published version; learners see it after the next publication.

    Raises NotFound, PreconditionFailed.
    """
    course = Course.get_for_update(session, ref, caller)
    course.require_version(expected_version)
    version = CourseVersion.get_by_version(session, course.id, course_version)
    course.sections.clear()
    session.flush()  # delete first: the restored rows have the same ids
    version.restore(course)
    record(session, course, course.updated_event(at=utc_now()))
    return course.to_response()
