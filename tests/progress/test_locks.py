"""What stands between a learner and a lesson: its time, its quiz, another course."""

from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy.orm import Session

from models.base import now
from models.errors import LessonNotOpen, PrerequisiteMissing, ProjectionBehind, QuizNotPassed
from models.events import CourseArchived, CoursePublished, EnrollmentEnded, QuizAttempted
from tests.progress.learners import Learner
from tests.support.events import some
from tests.support.tasks import forgotten
from workers.progress.learning import close_course, complete_passed_quiz, start_course
from workers.progress.outlines import end_sale, keep_outline


def attempted(learner: Learner, lesson_id, *, passed: bool) -> QuizAttempted:
    return some(QuizAttempted, **learner.in_course, lesson_id=lesson_id, passed=passed)


def test_a_lesson_is_completed_by_its_quiz_and_not_by_hand(session: Session):
    learner = Learner(session, completion_rule="min_score")
    lesson_id = learner.lessons[0]
    with pytest.raises(QuizNotPassed):
        learner.complete(lesson_id)
    complete_passed_quiz(session, forgotten, event=attempted(learner, lesson_id, passed=False))
    assert learner.progress()["lessons_completed"] == 0
    for _ in range(2):
        complete_passed_quiz(session, forgotten, event=attempted(learner, lesson_id, passed=True))
    assert learner.progress()["lessons_completed"] == 1


def test_a_passed_quiz_that_completes_nothing_harms_nothing(session: Session):
    learner = Learner(session)
    for lesson_id in (learner.lessons[0], uuid4()):
        complete_passed_quiz(session, forgotten, event=attempted(learner, lesson_id, passed=True))
    assert learner.progress()["lessons_completed"] == 0


def test_a_quiz_passed_before_the_start_has_arrived_is_taken_later(session: Session):
    learner = Learner(session)
    learner.user_id = uuid4()
    with pytest.raises(ProjectionBehind):
        complete_passed_quiz(session, forgotten, event=attempted(learner, learner.lessons[0], passed=True))


def test_quiz_passed_while_access_is_suspended_counts_after_it_is_restored(session: Session):
    learner = Learner(session, completion_rule="min_score")
    close_course(session, forgotten, event=some(EnrollmentEnded, **learner.in_course))

    complete_passed_quiz(session, forgotten, event=attempted(learner, learner.lessons[0], passed=True))
    start_course(session, forgotten, event=learner.enrolled())

    assert learner.progress()["lessons_completed"] == 1


def test_a_lesson_that_was_viewed_to_its_end_is_complete(session: Session):
    learner = Learner(session, completion_rule="viewed", duration_seconds=100)
    learner.move(learner.lessons[0], 94)
    assert learner.progress()["lessons_completed"] == 0
    learner.move(learner.lessons[0], 95)
    assert learner.progress()["lessons_completed"] == 1


def test_a_lesson_opens_at_its_time(session: Session):
    late = Learner(session, opens_at=now() + timedelta(hours=1))
    with pytest.raises(LessonNotOpen):
        late.complete(late.lessons[0])
    opened = Learner(session, opens_after_days=1)  # they began long ago
    assert opened.complete(opened.lessons[0])["lessons_completed"] == 1


def test_a_course_is_learned_after_those_that_come_first(session: Session):
    first = Learner(session, lessons=1)
    learner = Learner(session, user_id=first.user_id, prerequisites=[first.course_id])
    for attempt in (lambda: learner.complete(learner.lessons[0]), lambda: learner.move(learner.lessons[0], 1)):
        with pytest.raises(PrerequisiteMissing, match=str(first.course_id)):
            attempt()
    first.complete(first.lessons[0])
    assert learner.complete(learner.lessons[0])["lessons_completed"] == 1


def test_prerequisite_that_is_not_on_sale_any_more_locks_no_learner_out(session: Session):
    first = Learner(session, lessons=1)
    learner = Learner(session, user_id=first.user_id, prerequisites=[first.course_id])

    end_sale(session, event=some(CourseArchived, course_id=first.course_id), event_version=5)

    assert learner.complete(learner.lessons[0])["lessons_completed"] == 1


def test_lifted_prerequisite_does_not_lock_learners_of_an_older_version_out(session: Session):
    first = Learner(session, lessons=1)
    learner = Learner(session, user_id=first.user_id, prerequisites=[first.course_id])
    lifted = some(CoursePublished, course_id=learner.course_id, course_version=2, title="Bread", sections=[])

    keep_outline(session, event=lifted)

    assert learner.complete(learner.lessons[0])["lessons_completed"] == 1
