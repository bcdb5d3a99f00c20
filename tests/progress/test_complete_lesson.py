"""Completing lessons: the tasks as plain functions, on a real database."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from models.errors import LessonLocked, NoProgress, NotEnrolled, NotFound, ProjectionBehind
from models.events import CoursePublished, EnrollmentCreated, PublishedLesson, PublishedSection
from models.outbox import OutboxEvent
from workers.progress import complete_lesson, keep_outline, show_progress, start_course

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Learner:
    """Somebody in a course of ``lessons`` lessons."""

    def __init__(self, session: Session, *, lessons: int = 3, sequential: bool = False) -> None:
        self.session = session
        self.user_id, self.course_id = uuid4(), uuid4()
        self.lessons = [uuid4() for _ in range(lessons)]
        keep_outline(session, event=self.published(sequential))
        start_course(session, event=self.enrolled())

    def published(self, sequential: bool) -> CoursePublished:  # noqa: FBT001 the one thing that differs
        lessons = [PublishedLesson(lesson_id=each, title=f"Lesson {each}", kind="text") for each in self.lessons]
        return CoursePublished(
            course_id=self.course_id,
            course_version=1,
            slug="bread",
            title="Bread",
            instructor_id=uuid4(),
            price_minor=0,
            currency="USD",
            sequential=sequential,
            sections=[PublishedSection(section_id=uuid4(), title="All", lessons=lessons)],
            published_at=NOON,
        )

    def enrolled(self) -> EnrollmentCreated:
        return EnrollmentCreated(
            enrollment_id=uuid4(),
            user_id=self.user_id,
            course_id=self.course_id,
            course_title="Bread",
            source="free",
            source_id=str(self.course_id),
            enrolled_at=NOON,
        )

    def complete(self, lesson_id: UUID) -> dict:
        return complete_lesson(self.session, user_id=self.user_id, course_id=self.course_id, lesson_id=lesson_id)

    def told(self) -> list[tuple[str, int]]:
        key = f"{self.user_id}:{self.course_id}"
        events = select(OutboxEvent).where(OutboxEvent.aggregateid == key).order_by(OutboxEvent.seq)
        return [(event.type, event.aggregate_version) for event in self.session.scalars(events)]


def test_a_completed_lesson_is_counted_and_the_next_one_is_named(session: Session):
    learner = Learner(session)
    progress = learner.complete(learner.lessons[0])
    assert (progress["percent"], progress["lessons_completed"], progress["status"]) == (33, 1, "in_progress")
    assert (progress["last_lesson_id"], progress["next_lesson_id"]) == tuple(learner.lessons[:2])


def test_completing_twice_changes_nothing_and_tells_once(session: Session):
    learner = Learner(session)
    first, second = (learner.complete(learner.lessons[0]) for _ in range(2))
    assert second == first
    assert learner.told() == [("COURSE_STARTED", 1), ("LESSON_COMPLETED", 2)]


def test_the_last_lesson_completes_the_course_in_any_order(session: Session):
    learner = Learner(session, lessons=2)
    for lesson_id in reversed(learner.lessons):
        progress = learner.complete(lesson_id)
    assert (progress["percent"], progress["status"], progress["next_lesson_id"]) == (100, "completed", None)
    assert [type_ for type_, _ in learner.told()][-2:] == ["LESSON_COMPLETED", "COURSE_COMPLETED"]
    assert [version for _, version in learner.told()] == [1, 2, 3, 4]


def test_a_later_lesson_of_a_sequential_course_is_locked(session: Session):
    learner = Learner(session, sequential=True)
    with pytest.raises(LessonLocked, match=str(learner.lessons[0])):
        learner.complete(learner.lessons[2])
    learner.complete(learner.lessons[0])
    learner.complete(learner.lessons[1])
    assert learner.complete(learner.lessons[2])["percent"] == 100


def test_a_lesson_of_another_course_is_not_found(session: Session):
    learner = Learner(session)
    with pytest.raises(NotFound):
        learner.complete(uuid4())


def test_without_access_there_is_nothing_to_complete_and_nothing_to_show(session: Session):
    nobody = {"user_id": uuid4(), "course_id": uuid4()}
    with pytest.raises(NotEnrolled):
        complete_lesson(session, **nobody, lesson_id=uuid4())
    with pytest.raises(NoProgress):
        show_progress(session, **nobody)


def test_access_that_begins_anew_keeps_what_was_done(session: Session):
    learner = Learner(session)
    done = learner.complete(learner.lessons[0])
    start_course(session, event=learner.enrolled())
    assert show_progress(session, user_id=learner.user_id, course_id=learner.course_id) == done


def test_a_course_whose_outline_has_not_arrived_is_started_later(session: Session):
    enrolled = Learner(session).enrolled()
    elsewhere = EnrollmentCreated(**{**vars(enrolled), "course_id": uuid4()})
    with pytest.raises(ProjectionBehind):
        start_course(session, event=elsewhere)
