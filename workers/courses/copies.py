"""Copies of courses: duplicates, and documents for export and import."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from core.db import utc_now
from models.commands.authoring import CourseDocument
from models.commands.courses import Caller, CourseFields
from models.courses.course import Course
from models.courses.documents import add_document, to_document
from models.courses.files import File, files_of, files_of_all
from workers import task

from .authoring import add_course, new_course


@task
def duplicate_course(session: Session, *, ref: str, caller: Caller, title: str | None = None) -> dict[str, Any]:
    """Copy the working copy of a course to a new draft of the caller, without learners. Raises NotFound."""
    document = to_document(session, Course.get_for_update(session, ref, caller, contents=True))
    if title is not None:
        document["course"]["title"] = title
    lessons = [lesson for section in document["sections"] for lesson in section["lessons"]]
    File.keep(session, files_of_all(lessons), at=utc_now())  # the copy needs them when the course does not any more
    return _create(session, caller.user_id, document)


@task
def export_course(session: Session, *, ref: str, caller: Caller) -> CourseDocument:
    """Return the working copy of a course as a document. Raises NotFound."""
    return to_document(session, Course.get_for_update(session, ref, caller, contents=True))


@task
def import_course(session: Session, *, instructor_id: UUID, document: CourseDocument) -> dict[str, Any]:
    """Create a course as a draft from a document, with new ids.

    Raises SlugTaken, TooManySections, TooManyLessons, CourseNotImportable, FileNotUsable.
    """
    lessons = [each for section in document["sections"] for each in section["lessons"]]
    used = [each for lesson in lessons for each in files_of(lesson)]
    File.require_usable(session, used, None, Caller(instructor_id), at=utc_now())
    return _create(session, instructor_id, document)


def _create(session: Session, instructor_id: UUID, document: CourseDocument) -> dict[str, Any]:
    # Exports of drafts leave out empty texts.
    fields: CourseFields = {"summary": "", "description": "", **document["course"]}
    course = new_course(fields, instructor_id=instructor_id)
    add_document(session, course, document)
    add_course(session, course, has_given_slug="slug" in document["course"])
    return course.to_response()
