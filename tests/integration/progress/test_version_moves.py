"""Learners move to a new version: all by a publication, page by page, or one on their own request."""

from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from sqlalchemy.orm import Session

from models.errors import ProjectionNotReady
from models.events import CoursePublished, PublishedLesson, PublishedSection
from models.progress.version_moves import VersionMove
from tests.integration.progress.builders import NOON, Learner
from tests.support.events import build_event
from tests.support.tasks import noop_cache
from workers.progress.learning import start_course
from workers.progress.outline_projection import upsert_outline
from workers.progress.version_moves import upgrade_course


def publish(
    session: Session, course_id: UUID, lessons: list[UUID], *, learners: str = "move", sequential: bool = False
) -> None:
    published = [PublishedLesson(lesson_id=each, title="A lesson") for each in lessons]
    event = build_event(
        CoursePublished,
        course_id=course_id,
        course_version=2,
        title="Bread",
        sequential=sequential,
        sections=[PublishedSection(section_id=uuid4(), lessons=published)],
        learners=learners,
    )
    upsert_outline(session, event=event)


def move_all(session: Session, *, limit: int) -> int:
    """Run the pages of all requested moves; return the number of pages."""
    pages = 0
    while move := VersionMove.find_oldest_for_update(session):
        move.move_page(session, limit=limit, at=NOON)
        session.flush()
        pages += 1
    return pages


class Classmate(Learner):
    """Another learner of the same course."""

    def __init__(self, first: Learner) -> None:
        self.session, self.course_id, self.lessons = first.session, first.course_id, first.lessons
        self.user_id = uuid4()
        start_course(self.session, noop_cache, event=self.enrolled())


def test_publication_moves_learners_page_by_page(session: Session):
    new = Learner(session, lessons=2)
    half, done = Classmate(new), Classmate(new)
    half.complete(half.lessons[1])
    for lesson_id in done.lessons:
        done.complete(lesson_id)
    certificates = [event for event in done.published_events() if event[0] == "CERTIFICATE_ISSUED"]
    added = uuid4()

    publish(session, new.course_id, [added, *new.lessons], sequential=True)
    assert move_all(session, limit=2) == 3

    shown = [learner.progress() for learner in (new, half, done)]
    assert [(each["percent"], each["status"]) for each in shown] == [
        *((0, "in_progress"), (33, "in_progress"), (66, "completed")),
    ]
    assert {each["next_lesson_id"] for each in shown} == {added}
    assert done.complete(added)["percent"] == 100
    assert [event for event in done.published_events() if event[0] == "CERTIFICATE_ISSUED"] == certificates
    assert half.published_events()[-1][0] == "COURSE_VERSION_CHANGED"
    half.complete(added)  # the completed lesson stays open, and the first incomplete one is next
    assert half.progress()["next_lesson_id"] == half.lessons[0]


def test_version_without_the_missing_lessons_finishes_the_course(session: Session):
    learner = Learner(session, lessons=2)
    learner.complete(learner.lessons[0])

    publish(session, learner.course_id, learner.lessons[:1])
    move_all(session, limit=10)

    assert learner.progress()["status"] == "completed"
    assert [type_ for type_, _ in learner.published_events()][-3:] == [
        *("COURSE_VERSION_CHANGED", "COURSE_COMPLETED", "CERTIFICATE_ISSUED"),
    ]


def test_enrollment_for_an_older_version_starts_on_the_one_for_all(session: Session):
    learner = Learner(session, lessons=1)
    publish(session, learner.course_id, [*learner.lessons, uuid4()])
    move_all(session, limit=10)
    learner.user_id = uuid4()
    start_course(session, noop_cache, event=replace(learner.enrolled(), course_version=1))

    assert learner.progress()["lessons_total"] == 2
    assert [type_ for type_, _ in learner.published_events()] == ["COURSE_STARTED", "COURSE_VERSION_CHANGED"]


def test_learner_keeps_their_version_until_they_ask_for_the_newest(session: Session):
    learner = Learner(session, lessons=1)
    publish(session, learner.course_id, [*learner.lessons, uuid4()], learners="keep")
    assert VersionMove.find_oldest_for_update(session) is None
    assert learner.progress()["lessons_total"] == 1

    for _ in range(2):
        moved = upgrade_course(session, noop_cache, **learner.in_course, course_version=2)
        assert (moved["lessons_total"], moved["started_at"]) == (2, NOON)
    assert [type_ for type_, _ in learner.published_events()] == ["COURSE_STARTED", "COURSE_VERSION_CHANGED"]
    with pytest.raises(ProjectionNotReady):
        upgrade_course(session, noop_cache, **learner.in_course, course_version=3)
