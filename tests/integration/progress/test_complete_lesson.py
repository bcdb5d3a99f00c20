"""Completing lessons: the tasks as plain functions, on a real database."""

from uuid import uuid4

import pytest
from sqlalchemy.orm import Session

from core.db import utc_now
from models.errors import LessonLocked, NotEnrolled, NotFound, ProgressNotFound, ProjectionNotReady
from models.events import EnrollmentCreated, EnrollmentEnded
from models.progress.exports import export_courses
from tests.integration.progress.builders import Learner
from tests.support.tasks import noop_cache
from workers.progress.learning import close_course_progress, complete_lesson, start_course
from workers.progress.queries import list_progress, show_progress


def test_completion_updates_progress_and_next_lesson(session: Session):
    learner = Learner(session)
    progress = learner.complete(learner.lessons[0])
    assert (progress["percent"], progress["lessons_completed"], progress["status"]) == (33, 1, "in_progress")
    assert (progress["last_lesson_id"], progress["next_lesson_id"]) == tuple(learner.lessons[:2])


def test_repeated_completion_is_idempotent(session: Session):
    learner = Learner(session)
    first, second = (learner.complete(learner.lessons[0]) for _ in range(2))
    assert second == first
    assert learner.published_events() == [("COURSE_STARTED", 1), ("LESSON_COMPLETED", 2)]


def test_all_lessons_in_any_order_complete_course(session: Session):
    learner = Learner(session, lessons=2)
    for lesson_id in reversed(learner.lessons):
        progress = learner.complete(lesson_id)
    assert (progress["percent"], progress["status"], progress["next_lesson_id"]) == (100, "completed", None)
    ended = ["LESSON_COMPLETED", "COURSE_COMPLETED", "CERTIFICATE_ISSUED"]
    assert [type_ for type_, _ in learner.published_events()][-3:] == ended
    assert [version for _, version in learner.published_events()] == [1, 2, 3, 4, 5]


def test_sequential_course_locks_later_lesson(session: Session):
    learner = Learner(session, sequential=True)
    with pytest.raises(LessonLocked, match=str(learner.lessons[0])):
        learner.complete(learner.lessons[2])
    learner.complete(learner.lessons[0])
    learner.complete(learner.lessons[1])
    assert learner.complete(learner.lessons[2])["percent"] == 100


def test_lesson_of_other_course_is_not_found(session: Session):
    learner = Learner(session)
    with pytest.raises(NotFound):
        learner.complete(uuid4())


def test_progress_requires_enrollment(session: Session):
    unknown = {"user_id": uuid4(), "course_id": uuid4()}
    with pytest.raises(NotEnrolled):
        complete_lesson(session, noop_cache, **unknown, lesson_id=uuid4())
    with pytest.raises(ProgressNotFound):
        show_progress(session, **unknown)


def test_renewed_access_keeps_progress(session: Session):
    learner = Learner(session)
    done = learner.complete(learner.lessons[0])
    start_course(session, noop_cache, event=learner.enrolled())
    assert show_progress(session, user_id=learner.user_id, course_id=learner.course_id) == done


def test_start_before_outline_raises_projection_behind(session: Session):
    enrolled = Learner(session).enrolled()
    other_course = EnrollmentCreated(**{**vars(enrolled), "course_id": uuid4()})
    with pytest.raises(ProjectionNotReady):
        start_course(session, noop_cache, event=other_course)


def test_ended_access_hides_and_keeps_progress(session: Session):
    learner = Learner(session)
    learner.complete(learner.lessons[0])
    at = {"user_id": learner.user_id, "course_id": learner.course_id}
    for _ in range(2):
        close_course_progress(
            session,
            noop_cache,
            event=EnrollmentEnded(enrollment_id=uuid4(), reason="refunded", ended_at=utc_now(), **at),
        )
    with pytest.raises(NotEnrolled):
        learner.complete(learner.lessons[1])
    with pytest.raises(ProgressNotFound):
        show_progress(session, **at)
    assert list_progress(session, user_id=learner.user_id, after=None, limit=20)["items"] == []
    [exported] = export_courses(session, learner.user_id)
    assert (exported["lessons_completed"], exported["closed_at"] is None) == (1, False)
    again = {
        "enrollment_id": uuid4(),
        "course_title": "C",
        "source": "order",
        "source_id": "2",
        "enrolled_at": utc_now(),
    }
    start_course(session, noop_cache, event=EnrollmentCreated(**again, **at))
    assert show_progress(session, **at)["lessons_completed"] == 1
