"""Courses as documents, which leave an installation and come back: without ids, versions and learners."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from models.commands.authoring import CourseDocument, SectionDocument
from models.commands.courses import CourseFields, LessonFields
from models.errors import CourseNotImportable, InvalidContent

from .course import Course
from .outline import Lesson
from .publishing import FieldError
from .slugs import Slug

FORMAT = "coursebus-course/1"

_SLUGS = select(Course.id, Course.slug)


def to_document(session: Session, course: Course) -> CourseDocument:
    """Return the working copy of a course. The contents of its lessons must be loaded."""
    slugs = {each.id: each.slug for each in session.execute(_SLUGS.where(Course.id.in_(course.prerequisites)))}
    fields: CourseFields = {
        "title": course.title,
        "category": course.category,
        "level": course.level,
        "language": course.language,
        "tags": course.tags,
        "cover_url": course.cover_url,
        "price": {"amount_minor": course.price_minor, "currency": course.currency},
        "sequential": course.sequential,
    }
    # A draft may have no texts yet; a document with an empty one could not be imported.
    if course.summary:
        fields["summary"] = course.summary
    if course.description:
        fields["description"] = course.description
    return {
        "format": FORMAT,
        "course": fields,
        "prerequisites": [slugs[each] for each in course.prerequisites],
        "sections": [
            {"title": section.title, "lessons": [_lesson_fields(lesson) for lesson in section.lessons]}
            for section in course.sections
        ],
    }


def add_document(session: Session, course: Course, document: CourseDocument) -> None:
    """Add the sections, lessons and prerequisites of a document to a new course, with new ids.

    Raises TooManySections, TooManyLessons, and CourseNotImportable with all errors of the contents.
    """
    prerequisites, errors = _find_prerequisites(session, document["prerequisites"])
    course.set_prerequisites(prerequisites)
    for place, section in enumerate(document["sections"]):
        errors += _add_section(course, section, f"/sections/{place}")
    if errors:
        raise CourseNotImportable.from_field_errors([error._asdict() for error in errors])


def _add_section(course: Course, document: SectionDocument, pointer: str) -> list[FieldError]:
    section, errors = course.add_section(document["title"]), []
    for place, fields in enumerate(document["lessons"]):
        try:
            course.add_lesson(section.id, fields)
        except InvalidContent as error:
            errors.append(FieldError(f"{pointer}/lessons/{place}/content", str(error)))
    return errors


def _find_prerequisites(session: Session, slugs: list[str]) -> tuple[list[UUID], list[FieldError]]:
    """Return the ids of published courses by their slugs, and an error for each one that does not exist."""
    was_published = Course.published_version.is_not(None)
    named = select(Slug.slug, Course.id).join(Course, Course.id == Slug.course_id)
    ids = {each.slug: each.id for each in session.execute(named.where(Slug.slug.in_(slugs), was_published))}
    missing = [(place, slug) for place, slug in enumerate(slugs) if slug not in ids]
    errors = [FieldError(f"/prerequisites/{place}", f"There is no course {slug}.") for place, slug in missing]
    return list(dict.fromkeys(ids[slug] for slug in slugs if slug in ids)), errors


def _lesson_fields(lesson: Lesson) -> LessonFields:
    return {
        "title": lesson.title,
        "kind": lesson.kind,
        "content": lesson.content,
        "duration_seconds": lesson.duration_seconds,
        "free_preview": lesson.free_preview,
        "completion": lesson.completion,
        "unlock": lesson.unlock,
        "files": lesson.files,
    }
