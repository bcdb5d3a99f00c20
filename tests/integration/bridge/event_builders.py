"""Builders of past events, as rows of the outbox and as records."""

from datetime import timedelta
from uuid import UUID, uuid4

import msgspec

from bridge.admin.past_events import iter_past_events
from bridge.record import Record
from core.bus.outbox import OutboxEvent
from core.db import new_id, session_factory, utc_now
from models.events import CoursePublished, EnrollmentCreated, Event, PublishedLesson, PublishedSection


def course_published(course_id: UUID | None = None, *, version: int = 1, lessons: int = 1) -> CoursePublished:
    section = PublishedSection(
        section_id=uuid4(),
        lessons=[PublishedLesson(lesson_id=uuid4(), title=f"Lesson {n}") for n in range(lessons)],
    )
    return CoursePublished(
        course_id=course_id or uuid4(),
        course_version=version,
        slug="sailing",
        title=f"Sailing {version}",
        instructor_id=uuid4(),
        price_minor=4900,
        currency="USD",
        sequential=False,
        sections=[section],
        published_at=utc_now(),
    )


def enrollment_created(course_id: UUID | None = None, *, user_id: UUID | None = None) -> EnrollmentCreated:
    return EnrollmentCreated(
        enrollment_id=uuid4(),
        user_id=user_id or uuid4(),
        course_id=course_id or uuid4(),
        course_title="Sailing",
        source="free",
        source_id="x",
        enrolled_at=utc_now(),
    )


def store_event(
    event: Event, key: UUID | str, *, version: int = 1, published_ago: timedelta | None = timedelta(0)
) -> Record:
    """Insert ``event`` into the outbox of its service, published unless ``published_ago`` is None; return its
    record.
    """
    row = OutboxEvent(
        id=new_id(),
        aggregatetype=event.topic,
        aggregateid=str(key),
        aggregate_version=version,
        type=event.type,
        payload=msgspec.to_builtins(event),
        headers={},
        created_at=utc_now() - (published_ago or timedelta(0)),
        published_at=None if published_ago is None else utc_now() - published_ago,
    )
    with session_factory(event.topic).begin() as session:
        session.add(row)
    [record] = iter_past_events(event.topic, OutboxEvent.id == row.id)
    return record
