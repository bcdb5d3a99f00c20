"""Events of the past: in the outbox, and as records."""

from datetime import timedelta
from uuid import UUID, uuid4

import msgspec

from bridge.feed import past_events
from bridge.lanes import Record
from models.base import new_id, now, sessions
from models.events import CoursePublished, EnrollmentCreated, Event, PublishedLesson, PublishedSection
from models.outbox import OutboxEvent


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
        published_at=now(),
    )


def enrollment_created(course_id: UUID | None = None, *, user_id: UUID | None = None) -> EnrollmentCreated:
    return EnrollmentCreated(
        enrollment_id=uuid4(),
        user_id=user_id or uuid4(),
        course_id=course_id or uuid4(),
        course_title="Sailing",
        source="free",
        source_id="x",
        enrolled_at=now(),
    )


def tell(event: Event, key: UUID | str, *, version: int = 1, published_ago: timedelta | None = timedelta(0)) -> Record:
    """Put ``event`` into the outbox of its service, as published unless ``published_ago`` is None."""
    row = OutboxEvent(
        id=new_id(),
        aggregatetype=event.topic,
        aggregateid=str(key),
        aggregate_version=version,
        type=event.type,
        payload=msgspec.to_builtins(event),
        headers={},
        created_at=now() - (published_ago or timedelta(0)),
        published_at=None if published_ago is None else now() - published_ago,
    )
    with sessions(event.topic).begin() as session:
        session.add(row)
    [record] = past_events(event.topic, OutboxEvent.id == row.id)
    return record
