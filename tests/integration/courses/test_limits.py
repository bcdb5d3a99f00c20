"""The size limit of a course: its publication is one event, which must fit into a Kafka message."""

from datetime import UTC, datetime
from uuid import uuid4

import msgspec
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

import settings
from api.courses.schemas import OutlineSchema
from core.bus.outbox import OutboxEvent, record
from core.db import Aggregate
from models.commands.courses import PlannedSection
from models.courses.course import Course
from models.courses.outline import Lesson, Section
from models.errors import EventTooLarge, TooManyLessons, TooManySections
from models.events import CoursePublished, CourseUpdated
from models.progress import Outline
from tests.integration.courses.factories import author_of, make_course, make_draft, make_lesson
from tests.support.events import build_event
from tests.support.tasks import noop_cache
from workers.courses.authoring import publish_course
from workers.courses.outline import add_section, reorder_outline

TITLE = "Ж" * 200  # two bytes a character


def largest_course(session: Session) -> Course:
    """Create the draft with the largest event: the maximum of lessons, sections and prerequisites."""
    course = make_draft(session, lessons=0, title=TITLE)
    course.prerequisites = [make_course(session, lessons=1).id for _ in range(20)]
    lessons_each = settings.COURSE_LESSONS_MAX // settings.COURSE_SECTIONS_MAX
    for position in range(2, settings.COURSE_SECTIONS_MAX + 1):
        course.sections.append(Section(title=TITLE, position=position, lessons=[]))
    for section in course.sections:
        for position in range(1, lessons_each + 1):
            section.lessons.append(
                Lesson(
                    title=TITLE,
                    position=position,
                    kind="quiz",
                    content={"questions": []},
                    duration_seconds=1_000_000,
                    completion={"rule": "min_score", "min_score_percent": 100},
                    unlock={"at": datetime(2026, 12, 31, 23, 59, 59, 999999, UTC).isoformat()},
                )
            )
    session.flush()
    return course


def test_publish_event_of_largest_course_fits_size_limit(session: Session):
    course = largest_course(session)

    publish_course(session, noop_cache, ref=str(course.id), caller=author_of(course))

    published_of = (OutboxEvent.type == "COURSE_PUBLISHED") & (OutboxEvent.aggregateid == str(course.id))
    event = session.scalars(select(OutboxEvent).where(published_of)).one()
    assert len(msgspec.json.encode(event.payload)) < 0.8 * settings.EVENT_MAX_BYTES
    published = msgspec.convert(event.payload, CoursePublished)
    lessons = [lesson for section in published.sections for lesson in section.lessons]
    assert len(lessons) == settings.COURSE_LESSONS_MAX
    assert lessons[0].title == "Ж" * 79 + "…"
    Outline.insert_once(session, published)
    outline = Outline.find_latest(session, course.id)
    assert outline
    assert len(outline.lessons) == settings.COURSE_LESSONS_MAX


def test_course_lesson_count_is_limited(session: Session):
    course = largest_course(session)

    with pytest.raises(TooManyLessons):
        make_lesson(session, course.id, str(course.sections[0].id), author_of(course))


def test_course_section_count_is_limited(session: Session):
    course = largest_course(session)

    with pytest.raises(TooManySections):
        add_section(session, course_id=course.id, caller=author_of(course), title="One more")


def test_reordered_outline_section_count_is_limited(session: Session):
    course = make_draft(session, lessons=1)
    [lesson] = course.lessons()
    plan = [PlannedSection(title="New", lessons=[]) for _ in range(settings.COURSE_SECTIONS_MAX)]

    with pytest.raises(TooManySections):
        reorder_outline(
            session,
            course_id=course.id,
            caller=author_of(course),
            expected_version=course.version,
            sections=[PlannedSection(title="First", lessons=[lesson.id]), *plan],
        )


def test_reorder_can_replace_all_sections(session: Session):
    course = largest_course(session)
    lessons = [lesson.id for lesson in course.lessons()]

    reorder_outline(
        session,
        course_id=course.id,
        caller=author_of(course),
        expected_version=course.version,
        sections=[PlannedSection(title="All", lessons=lessons)],
    )

    assert [len(section.lessons) for section in course.sections] == [settings.COURSE_LESSONS_MAX]


@pytest.mark.parametrize(
    "outline", [[{"title": "t", "lessons": []}] * 201, [{"title": "t", "lessons": [str(uuid4())] * 1001}]]
)
def test_outline_above_limits_fails_schema_validation(outline: list[dict[str, object]]):
    assert list(OutlineSchema().validate({"sections": outline})) == ["sections"]


def test_event_above_size_limit_is_rejected(session: Session):
    class Key(Aggregate):
        id, version = "k", 0

    with pytest.raises(EventTooLarge):
        record(session, Key(), build_event(CourseUpdated, title="x" * settings.EVENT_MAX_BYTES))
