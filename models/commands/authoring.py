"""Commands of authors of the courses service on whole courses: copies, documents and the archive."""

from typing import TypedDict
from uuid import UUID

from core.commands import Command

from .courses import Caller, CourseFields, LessonFields


class SectionDocument(TypedDict):
    """A section of an exported course, with its lessons in order."""

    title: str
    lessons: list[LessonFields]


class CourseDocument(TypedDict):
    """A course outside of an installation: without ids, versions and learners."""

    format: str
    course: CourseFields
    prerequisites: list[str]  # slugs
    sections: list[SectionDocument]


class DuplicateCourse(Command, service="courses"):
    """Copy the working copy of a course to a new draft of the caller, without learners."""

    ref: str
    caller: Caller
    title: str | None = None


class ExportCourse(Command, service="courses"):
    """Return the working copy of a course as a document."""

    ref: str
    caller: Caller


class ImportCourse(Command, service="courses"):
    """Create a course as a draft from a document."""

    instructor_id: UUID
    document: CourseDocument


class SetInstructors(Command, service="courses"):
    """Replace the owner and the editors of a course."""

    course_id: UUID
    caller: Caller
    expected_version: int
    owner_id: UUID | None
    editor_ids: list[UUID]


class UnarchiveCourse(Command, service="courses"):
    """Return an archived course to its author, as a draft."""

    ref: str
    caller: Caller
    expected_version: int | None = None
