"""Locked lessons: by opening time, by quiz, by prerequisite course."""

from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy.orm import Session

from core.db import utc_now
from models.errors import LessonNotOpen, PrerequisiteMissing, ProjectionNotReady, QuizNotPassed
from models.events import CourseArchived, CoursePublished, EnrollmentEnded, QuizAttempted
from tests.integration.progress.builders import Learner
from tests.support.events import build_event
from tests.support.tasks import noop_cache
from workers.progress.learning import close_course_progress, complete_quiz_lesson, start_course
from workers.progress.outline_projection import end_sale, upsert_outline


def quiz_attempted(learner: Learner, lesson_id, *, passed: bool) -> QuizAttempted:
    return build_event(QuizAttempted, **learner.in_course, lesson_id=lesson_id, passed=passed)


def test_quiz_lesson_is_completed_by_passing_only(session: Session):
    learner = Learner(session, completion_rule="min_score")
    lesson_id = learner.lessons[0]
    with pytest.raises(QuizNotPassed):
        learner.complete(lesson_id)
    complete_quiz_lesson(session, noop_cache, event=quiz_attempted(learner, lesson_id, passed=False))
    assert learner.progress()["lessons_completed"] == 0
    for _ in range(2):
        complete_quiz_lesson(session, noop_cache, event=quiz_attempted(learner, lesson_id, passed=True))
    assert learner.progress()["lessons_completed"] == 1


def test_passed_quiz_without_score_rule_is_ignored(session: Session):
    learner = Learner(session)
    for lesson_id in (learner.lessons[0], uuid4()):
        complete_quiz_lesson(session, noop_cache, event=quiz_attempted(learner, lesson_id, passed=True))
    assert learner.progress()["lessons_completed"] == 0


def test_quiz_passed_before_start_raises_projection_behind(session: Session):
    learner = Learner(session)
    learner.user_id = uuid4()
    with pytest.raises(ProjectionNotReady):
        complete_quiz_lesson(session, noop_cache, event=quiz_attempted(learner, learner.lessons[0], passed=True))


def test_quiz_passed_during_suspension_counts_after_restore(session: Session):
    learner = Learner(session, completion_rule="min_score")
    close_course_progress(session, noop_cache, event=build_event(EnrollmentEnded, **learner.in_course))

    complete_quiz_lesson(session, noop_cache, event=quiz_attempted(learner, learner.lessons[0], passed=True))
    start_course(session, noop_cache, event=learner.enrolled())

    assert learner.progress()["lessons_completed"] == 1


def test_lesson_viewed_to_end_is_completed(session: Session):
    learner = Learner(session, lessons=1, completion_rule="viewed", duration_seconds=100)
    lesson_id = learner.lessons[0]
    assert learner.move(lesson_id, 999_999) == (100, 100)  # a jump to the end, which counts the last 30 seconds
    for position in (30, 60, 64):
        learner.move(lesson_id, position)
        assert learner.progress()["lessons_completed"] == 0
    learner.move(lesson_id, 65)
    assert learner.progress()["lessons_completed"] == 1

    learner.reopen(lesson_id)
    learner.move(lesson_id, 100)  # watched parts before the lesson was reopened do not count
    learner.merge(learner.offline_event(lesson_id, minute=1, position_seconds=90))
    assert learner.progress()["lessons_completed"] == 0
    learner.move(lesson_id, 70, from_seconds=0)
    assert learner.progress()["lessons_completed"] == 1


def test_lesson_opens_at_scheduled_time(session: Session):
    late = Learner(session, opens_at=utc_now() + timedelta(hours=1))
    with pytest.raises(LessonNotOpen):
        late.complete(late.lessons[0])
    opened = Learner(session, opens_after_days=1)  # the course started long ago
    assert opened.complete(opened.lessons[0])["lessons_completed"] == 1


def test_prerequisites_are_enforced(session: Session):
    first = Learner(session, lessons=1)
    learner = Learner(session, user_id=first.user_id, prerequisites=[first.course_id])
    for attempt in (lambda: learner.complete(learner.lessons[0]), lambda: learner.move(learner.lessons[0], 1)):
        with pytest.raises(PrerequisiteMissing, match=str(first.course_id)):
            attempt()
    first.complete(first.lessons[0])
    assert learner.complete(learner.lessons[0])["lessons_completed"] == 1


def test_archived_prerequisite_does_not_lock_learners(session: Session):
    first = Learner(session, lessons=1)
    learner = Learner(session, user_id=first.user_id, prerequisites=[first.course_id])

    end_sale(session, event=build_event(CourseArchived, course_id=first.course_id), event_version=5)

    assert learner.complete(learner.lessons[0])["lessons_completed"] == 1


def test_removed_prerequisite_does_not_lock_current_learners(session: Session):
    first = Learner(session, lessons=1)
    learner = Learner(session, user_id=first.user_id, prerequisites=[first.course_id])
    lifted = build_event(CoursePublished, course_id=learner.course_id, course_version=2, title="Bread", sections=[])

    upsert_outline(session, event=lifted)

    assert learner.complete(learner.lessons[0])["lessons_completed"] == 1
