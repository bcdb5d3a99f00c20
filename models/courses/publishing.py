"""Validation before publishing: learners must be able to complete every lesson and every prerequisite."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from models.errors import CourseNotPublishable, PrerequisiteCycle, PrerequisiteOfCourses

from .course import Course
from .outline import Lesson
from .quiz_content import list_content_errors
from .versions import CourseVersion


class FieldError(NamedTuple):
    """An error, and a JSON pointer to its place in the representation of the course."""

    pointer: str
    detail: str


def check_publishable(session: Session, course: Course) -> None:
    """Raise CourseNotPublishable with all errors of the course. The contents of its lessons must be loaded."""
    if errors := list_errors(session, course):
        raise CourseNotPublishable.from_field_errors(course.id, errors)


def list_errors(session: Session, course: Course) -> list[dict[str, str]]:
    """Return what prevents a publication: [{"pointer", "detail"}]. The contents of the lessons must be loaded."""
    errors = [*_lesson_errors(course), *_prerequisite_errors(session, course)]
    return [error._asdict() for error in errors]


def require_not_required(session: Session, course_id: UUID) -> None:
    """Raise PrerequisiteOfCourses if courses on sale require the course.

    The lock makes a concurrent publication of such a course wait, or this transaction for it.
    """
    _lock_prerequisites(session)
    requiring = session.scalars(_REQUIRING.where(CourseVersion.prerequisites.contains([course_id])).limit(_NAMED)).all()
    if requiring:
        raise PrerequisiteOfCourses(", ".join(requiring))


def require_no_cycle(session: Session, course_id: UUID, prerequisites: Sequence[UUID]) -> None:
    """Raise PrerequisiteCycle if one of ``prerequisites`` requires the course, directly or through others.

    A lock serialises such changes. Otherwise two concurrent transactions could create a cycle together.
    """
    if not prerequisites:
        return
    _lock_prerequisites(session)
    for prerequisite in prerequisites:
        if session.scalar(_REQUIRES, {"start": prerequisite, "wanted": course_id}):
            raise PrerequisiteCycle(str(prerequisite))


def _lock_prerequisites(session: Session) -> None:
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended("courses.prerequisites", 0))))


_NAMED = 10  # courses in an error message
_REQUIRING = (
    select(Course.slug)
    .join(
        CourseVersion,
        (CourseVersion.course_id == Course.id) & (CourseVersion.course_version == Course.published_version),
    )
    .where(Course.status == "published")
    .order_by(Course.slug)
)

# Both the working copy and the version on sale count: a cycle in either would lock learners out.
_REQUIRES = text("""
    WITH RECURSIVE edges AS (
        SELECT id AS course_id, unnest(prerequisites) AS required FROM courses.courses WHERE status <> 'archived'
        UNION
        SELECT course_id, unnest(version.prerequisites) FROM courses.course_versions version
        JOIN courses.courses course ON course.id = course_id AND published_version = course_version
        WHERE course.status = 'published'
    ), required AS (
        SELECT CAST(:start AS uuid) AS course_id
        UNION
        SELECT edges.required FROM edges JOIN required ON edges.course_id = required.course_id
    )
    SELECT EXISTS (SELECT 1 FROM required WHERE course_id = :wanted)
""")


def _lesson_errors(course: Course) -> Iterator[FieldError]:
    for place, section in enumerate(course.sections):
        for place_in_section, lesson in enumerate(section.lessons):
            pointer = f"/sections/{place}/lessons/{place_in_section}"
            yield from (FieldError(f"{pointer}{within}", detail) for within, detail in _errors_of(lesson))


def _errors_of(lesson: Lesson) -> Iterator[tuple[str, str]]:
    rule = lesson.completion["rule"]
    if rule == "min_score" and lesson.kind != "quiz":
        yield "/completion/rule", "Only a quiz can be completed by a minimum score."
    if rule == "viewed" and not lesson.duration_seconds:
        yield "/duration_seconds", "A lesson that is completed by viewing must have a duration."
    counts = Counter(question["id"] for question in lesson.content.get("questions", []))
    if repeated := [each for each, count in counts.items() if count > 1]:
        yield "/content/questions", f"Several questions have the id {repeated[0]}."
    yield from (("/content/settings/pools", detail) for detail in list_content_errors(lesson.content))


def _prerequisite_errors(session: Session, course: Course) -> Iterator[FieldError]:
    if course.prerequisites:
        _lock_prerequisites(session)  # before they are read: none is archived until this transaction has ended
    on_sale = set(Course.filter_on_sale(session, course.prerequisites))
    for place, required in enumerate(course.prerequisites):
        if required not in on_sale:
            yield FieldError(f"/prerequisites/{place}", "The course is not on sale, so it cannot be a prerequisite.")
    try:
        require_no_cycle(session, course.id, course.prerequisites)
    except PrerequisiteCycle as cycle:
        yield FieldError("/prerequisites", str(cycle))
