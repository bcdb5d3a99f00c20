"""Completing lessons: the tasks as plain functions, on a real database."""

from uuid import uuid4

import pytest
from sqlalchemy.orm import Session

from models.base import now
from models.errors import LessonLocked, NoProgress, NotEnrolled, NotFound, ProjectionBehind
from models.events import EnrollmentCreated, EnrollmentEnded
from tests.progress.learners import Learner
from tests.support.tasks import forgotten
from workers.progress.learning import close_course, complete_lesson, start_course
from workers.progress.showing import show_progress


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
    ended = ["LESSON_COMPLETED", "COURSE_COMPLETED", "CERTIFICATE_ISSUED"]
    assert [type_ for type_, _ in learner.told()][-3:] == ended
    assert [version for _, version in learner.told()] == [1, 2, 3, 4, 5]


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
        complete_lesson(session, forgotten, **nobody, lesson_id=uuid4())
    with pytest.raises(NoProgress):
        show_progress(session, **nobody)


def test_access_that_begins_anew_keeps_what_was_done(session: Session):
    learner = Learner(session)
    done = learner.complete(learner.lessons[0])
    start_course(session, forgotten, event=learner.enrolled())
    assert show_progress(session, user_id=learner.user_id, course_id=learner.course_id) == done


def test_a_course_whose_outline_has_not_arrived_is_started_later(session: Session):
    enrolled = Learner(session).enrolled()
    elsewhere = EnrollmentCreated(**{**vars(enrolled), "course_id": uuid4()})
    with pytest.raises(ProjectionBehind):
        start_course(session, forgotten, event=elsewhere)


def test_access_that_has_ended_closes_the_course_and_keeps_what_was_done(session: Session):
    learner = Learner(session)
    learner.complete(learner.lessons[0])
    at = {"user_id": learner.user_id, "course_id": learner.course_id}
    for _ in range(2):
        close_course(
            session, forgotten, event=EnrollmentEnded(enrollment_id=uuid4(), reason="refunded", ended_at=now(), **at)
        )
    with pytest.raises(NotEnrolled):
        learner.complete(learner.lessons[1])
    with pytest.raises(NoProgress):
        show_progress(session, **at)
    again = {"enrollment_id": uuid4(), "course_title": "C", "source": "order", "source_id": "2", "enrolled_at": now()}
    start_course(session, forgotten, event=EnrollmentCreated(**again, **at))
    assert show_progress(session, **at)["lessons_completed"] == 1
