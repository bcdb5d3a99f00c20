"""Quizzes are graded on the server, and locked like any lesson."""

from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.bus.outbox import OutboxEvent
from models.commands.courses import Caller
from models.courses.course import Course
from models.courses.quiz_content import Quiz
from models.errors import InvalidAnswers, LessonIsNotAQuiz, LessonLocked, NotEnrolled, PrerequisiteMissing
from tests.integration.courses.factories import (
    author_of,
    completion_of,
    make_course,
    make_draft,
    make_lesson,
    purchase_of,
)
from tests.support.tasks import noop_cache
from workers.courses.access import grant_access
from workers.courses.authoring import publish_course, set_prerequisites, unpublish_course
from workers.courses.learning import on_lesson_completed, show_lesson
from workers.courses.quizzes import attempt_quiz


def question(name: str, *correct: str) -> dict[str, Any]:
    options = [{"id": each, "text": each} for each in "abc"]
    return {"id": name, "text": "?", "options": options, "multiple": len(correct) > 1, "correct": list(correct)}


QUIZ = {
    "kind": "quiz",
    "content": {"questions": [question("one", "a"), question("two", "b", "c")]},
    "completion": {"rule": "min_score", "min_score_percent": 50},
}


class QuizLearner:
    """A learner in a course whose second lesson is a quiz."""

    def __init__(self, session: Session, **overrides: Any) -> None:
        self.session = session
        self.course = make_draft(session, lessons=1, **overrides)
        author = author_of(self.course)
        self.text_id = next(self.course.lessons()).id
        section_id = str(self.course.sections[0].id)
        self.quiz_id = UUID(make_lesson(session, self.course.id, section_id, author, **QUIZ)["id"])
        publish_course(session, noop_cache, ref=str(self.course.id), caller=author)
        self.user_id = uuid4()
        grant_access(session, event=purchase_of(self.course, user_id=self.user_id))

    def answer(self, lesson_id: UUID | None = None, **answers: list[str]) -> dict[str, Any]:
        place = {"course_id": self.course.id, "lesson_id": lesson_id or self.quiz_id}
        graded = attempt_quiz(self.session, user_id=self.user_id, **place, answers=answers)
        del graded["attempted_at"]
        return graded

    def read(self, lesson_id: UUID) -> dict[str, Any]:
        caller = Caller(self.user_id)
        return show_lesson(self.session, course_id=self.course.id, lesson_id=lesson_id, caller=caller)["view"]


@pytest.mark.parametrize(
    ("answers", "score_percent"),
    [
        ({}, 0),
        ({"one": ["a"]}, 50),
        ({"one": ["a"], "two": ["b"]}, 50),
        ({"one": ["a", "b"], "two": ["c", "b"]}, 50),
        ({"one": ["a"], "two": ["c", "b"]}, 100),
    ],
)
def test_grading_requires_exactly_correct_options(answers, score_percent):
    quiz = Quiz({"id": "x", **QUIZ})
    assert quiz.grade(quiz.draw(Random(0)), answers).score_percent == score_percent


def test_attempt_is_numbered_graded_and_published(session: Session):
    pupil = QuizLearner(session)
    assert pupil.answer(one=["b"]) == {"attempt": 1, "score_percent": 0, "passed": False}
    assert pupil.answer(one=["a"]) == {"attempt": 2, "score_percent": 50, "passed": True}
    session.flush()
    theirs = OutboxEvent.payload["user_id"].astext == str(pupil.user_id)
    attempted = select(OutboxEvent).where(OutboxEvent.type == "QUIZ_ATTEMPTED", theirs)
    events = list(session.scalars(attempted.order_by(OutboxEvent.seq)))
    assert [(event.payload["attempt"], event.payload["passed"]) for event in events] == [(1, False), (2, True)]
    assert all("answers" not in event.payload for event in events)


def test_unknown_questions_and_options_are_rejected(session: Session):
    pupil = QuizLearner(session)
    with pytest.raises(InvalidAnswers, match="three"):
        pupil.answer(three=["a"])
    with pytest.raises(InvalidAnswers, match="d"):
        pupil.answer(one=["d"])
    with pytest.raises(LessonIsNotAQuiz):
        pupil.answer(pupil.text_id)


def test_quiz_requires_enrollment(session: Session):
    pupil = QuizLearner(session)
    pupil.user_id = uuid4()
    with pytest.raises(NotEnrolled):
        pupil.answer(one=["a"])


def test_sequential_lesson_is_locked_until_previous_is_complete(session: Session):
    pupil = QuizLearner(session, sequential=True)
    assert pupil.read(pupil.text_id)["kind"] == "text"
    for look in (lambda: pupil.read(pupil.quiz_id), pupil.answer):
        with pytest.raises(LessonLocked, match=str(pupil.text_id)):
            look()
    on_lesson_completed(session, event=completion_of(pupil.course, pupil.user_id, lessons_completed=1, lessons_total=2))
    assert pupil.read(pupil.quiz_id)["kind"] == "quiz"


def test_course_is_locked_until_prerequisites_are_complete(session: Session):
    first, pupil = make_course(session, lessons=1), QuizLearner(session)
    add_prerequisites(session, pupil.course, first)
    assert pupil.read(pupil.text_id)["kind"] == "text"  # their version has no prerequisites
    pupil.user_id = uuid4()
    grant_access(session, event=purchase_of(pupil.course, user_id=pupil.user_id))
    with pytest.raises(PrerequisiteMissing, match=str(first.id)):
        pupil.read(pupil.text_id)
    grant_access(session, event=purchase_of(first, user_id=pupil.user_id))
    on_lesson_completed(session, event=completion_of(first, pupil.user_id, lessons_completed=1, lessons_total=1))
    assert pupil.read(pupil.text_id)["kind"] == "text"


def test_prerequisite_off_sale_does_not_lock_learners(session: Session):
    first, pupil = make_course(session, lessons=1), QuizLearner(session)
    add_prerequisites(session, pupil.course, first)

    unpublish_course(session, noop_cache, ref=str(first.id), caller=author_of(first))

    assert pupil.read(pupil.text_id)["kind"] == "text"


def add_prerequisites(session: Session, course: Course, *first: Course) -> None:
    caller = author_of(course)
    rules = {"prerequisites": [each.id for each in first], "sequential": None, "expected_version": course.version}
    set_prerequisites(session, noop_cache, course_id=course.id, caller=caller, **rules)
    publish_course(session, noop_cache, ref=str(course.id), caller=caller)
