"""Commands of authors on sections and lessons.

They change the working copy only; learners see the changes after the next publication. Values that are equal to the
present ones cause no event and no new version. Each command except ``reorder_outline`` returns {"version": version of
the course, "view": the changed object or None}.
"""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from core.bus.outbox import record
from core.db import utc_now
from models.commands.courses import Caller, LessonFields, PlannedSection
from models.courses.course import Course
from models.courses.files import File, files_of
from workers import task


@task
def reorder_outline(
    session: Session, *, course_id: UUID, caller: Caller, expected_version: int, sections: list[PlannedSection]
) -> dict[str, Any]:
    """Reorder sections and lessons; return the course.

    Raises NotFound, PreconditionFailed, TooManySections, OutlineIncomplete.
    """
    course = _get_course_for_edit(session, course_id, caller, expected_version)
    course.reorder_outline(sections)
    if course.is_modified:
        record(session, course, course.updated_event(at=utc_now()))
    return course.to_response()


@task
def add_section(session: Session, *, course_id: UUID, caller: Caller, title: str) -> dict[str, Any]:
    """Append a section. Raises NotFound, TooManySections."""
    course = Course.get_for_update(session, str(course_id), caller)
    section = course.add_section(title)
    return _record_and_respond(session, course, section.outline())


@task
def rename_section(
    session: Session, *, course_id: UUID, section_id: UUID, caller: Caller, expected_version: int, title: str
) -> dict[str, Any]:
    """Change the title of a section. Raises NotFound, PreconditionFailed."""
    course = _get_course_for_edit(session, course_id, caller, expected_version)
    section = course.section(section_id)
    section.title = title
    return _record_and_respond(session, course, section.outline())


@task
def remove_section(
    session: Session, *, course_id: UUID, section_id: UUID, caller: Caller, expected_version: int
) -> dict[str, Any]:
    """Remove an empty section. Raises NotFound, PreconditionFailed, SectionNotEmpty."""
    course = _get_course_for_edit(session, course_id, caller, expected_version)
    course.remove_section(section_id)
    return _record_and_respond(session, course, None)


@task
def add_lesson(
    session: Session, *, course_id: UUID, section_id: UUID, caller: Caller, fields: LessonFields
) -> dict[str, Any]:
    """Append a lesson to a section. Raises NotFound, TooManyLessons, InvalidContent, FileNotUsable."""
    course = Course.get_for_update(session, str(course_id), caller)
    lesson = course.add_lesson(section_id, fields)
    File.require_usable(session, files_of(lesson.to_dict()), course_id, caller, at=utc_now())
    return _record_and_respond(session, course, lesson.to_dict())


@task
def change_lesson(
    session: Session,
    *,
    course_id: UUID,
    lesson_id: UUID,
    caller: Caller,
    expected_version: int,
    section_id: UUID | None,
    fields: LessonFields,
) -> dict[str, Any]:
    """Change a lesson; ``section_id`` moves it to the end of that section.

    Raises NotFound, PreconditionFailed, InvalidContent, FileNotUsable.
    """
    course = _get_course_for_edit(session, course_id, caller, expected_version)
    lesson = course.lesson(lesson_id)
    session.refresh(lesson, ["content"])
    present = files_of(lesson.to_dict())
    lesson.change(fields)
    # Files that the lesson has stay, also if only the author of a copied course may add them.
    added = [each for each in files_of(lesson.to_dict()) if each not in present]
    File.require_usable(session, added, course_id, caller, at=utc_now())
    if section_id:
        course.move_lesson(lesson, section_id)
    return _record_and_respond(session, course, lesson.to_dict())


@task
def remove_lesson(
    session: Session, *, course_id: UUID, lesson_id: UUID, caller: Caller, expected_version: int
) -> dict[str, Any]:
    """Remove a lesson. Raises NotFound, PreconditionFailed."""
    course = _get_course_for_edit(session, course_id, caller, expected_version)
    lesson = course.lesson(lesson_id)
    course.remove_lesson(lesson)
    session.delete(lesson)
    return _record_and_respond(session, course, None)


def _get_course_for_edit(session: Session, course_id: UUID, caller: Caller, expected_version: int) -> Course:
    """Return the course, locked, if the caller may change it. Raises NotFound, PreconditionFailed."""
    course = Course.get_for_update(session, str(course_id), caller)
    course.require_version(expected_version)
    return course


def _record_and_respond(session: Session, course: Course, view: dict[str, Any] | None) -> dict[str, Any]:
    """Record COURSE_UPDATED if the course has changed, and return the reply of a command on the outline."""
    if course.is_modified:
        record(session, course, course.updated_event(at=utc_now()))
    return {"version": course.version, "view": view}
