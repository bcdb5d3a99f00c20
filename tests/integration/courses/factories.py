"""Factories of courses in any state, with defaults for everything a test does not care about."""

from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.bus.outbox import OutboxEvent
from core.db import utc_now
from models.commands.courses import Caller
from models.courses.course import Course
from models.events import CoursePurchased, LessonCompleted
from tests.support.tasks import noop_cache
from workers.courses.authoring import change_course, create_course, publish_course
from workers.courses.outline import add_lesson, add_section


def fields(**overrides: Any) -> dict[str, Any]:
    return {
        "title": f"Course {uuid4().hex}",
        "summary": "What it is about.",
        "category": "testing",
        "level": "beginner",
        "language": "en",
        "tags": [],
        "price": {"amount_minor": 4900, "currency": "USD"},
    } | overrides


def make_draft(session: Session, *, lessons: int = 3, author: Caller | None = None, **overrides: Any) -> Course:
    author = author or Caller(uuid4())
    course = create_course(session, instructor_id=author.user_id, fields=fields(**overrides))
    section = add_section(session, course_id=course["id"], caller=author, title="All of it")["view"]
    for number in range(1, lessons + 1):
        make_lesson(session, course["id"], section["id"], author, title=f"Lesson {number}")
    return Course.get_for_update(session, str(course["id"]), author)


def make_lesson(session: Session, course_id: UUID, section_id: str, author: Caller, **overrides: Any) -> dict[str, Any]:
    lesson = {"title": "A lesson", "kind": "text", "content": {"body": "Words."}, "duration_seconds": 60} | overrides
    return add_lesson(session, course_id=course_id, section_id=UUID(section_id), caller=author, fields=lesson)["view"]


def make_course(session: Session, **overrides: Any) -> Course:
    """Publish a course; returns it."""
    course = make_draft(session, **overrides)
    publish_course(session, noop_cache, ref=str(course.id), caller=author_of(course))
    return course


def make_catalogue(session: Session, *courses: dict[str, Any]) -> str:
    """Publish courses in a new category; returns the category."""
    category = f"c{uuid4().hex}"
    for overrides in courses:
        make_course(session, category=category, lessons=1, **overrides)
    return category


def author_of(course: Course) -> Caller:
    return Caller(course.instructor_id)


def reprice(session: Session, course: Course, amount_minor: int) -> None:
    price = {"amount_minor": amount_minor, "currency": course.currency}
    change_course(
        session,
        noop_cache,
        ref=str(course.id),
        caller=author_of(course),
        expected_version=course.version,
        fields={"price": price},
    )


def purchase_of(course: Course, **overrides: Any) -> CoursePurchased:
    message = {
        "order_id": uuid4(),
        "user_id": uuid4(),
        "course_title": course.title,
        "purchased_at": utc_now(),
    } | overrides
    return CoursePurchased(course_id=course.id, **message)


def completion_of(course: Course, user_id: UUID, *, lessons_completed: int, lessons_total: int = 3) -> LessonCompleted:
    return LessonCompleted(
        user_id=user_id,
        course_id=course.id,
        course_title=course.title,
        lesson_id=uuid4(),
        lesson_title="A lesson",
        lessons_completed=lessons_completed,
        lessons_total=lessons_total,
        completed_at=utc_now(),
    )


def published_events(session: Session, aggregate_id: object) -> list[OutboxEvent]:
    """Return the events of an aggregate in their order."""
    session.flush()
    statement = select(OutboxEvent).where(OutboxEvent.aggregateid == str(aggregate_id))
    return list(session.scalars(statement.order_by(OutboxEvent.aggregate_version)))
