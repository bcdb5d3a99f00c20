"""Quizzes: attempts and grading. Only the courses service knows the correct options."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base
from models.errors import InvalidAnswers, LessonIsNotAQuiz
from models.events import QuizAttempted

Answers = Mapping[str, list[str]]  # ids of the chosen options, by question id

_PERFECT_SCORE_PERCENT = 100


class QuizAttempt(Base):
    """A learner's answers to a quiz, and their score."""

    __tablename__ = "quiz_attempts"
    __table_args__ = ({"schema": "courses"},)

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    lesson_id: Mapped[UUID] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)  # number of the attempt: 1, 2, 3 …
    course_id: Mapped[UUID]
    answers: Mapped[dict[str, Any]]
    score_percent: Mapped[int]
    passed: Mapped[bool]
    attempted_at: Mapped[datetime]

    @classmethod
    def create(
        cls,
        session: Session,
        lesson: Mapping[str, Any],
        *,
        user_id: UUID,
        course_id: UUID,
        answers: Answers,
        at: datetime,
    ) -> Self:
        """Grade the answers and add the learner's next attempt; their enrollment must be locked.

        Raises LessonIsNotAQuiz, InvalidAnswers.
        """
        lesson_id = UUID(lesson["id"])
        score_percent = grade(lesson, answers)
        before = select(func.count()).where(cls.user_id == user_id, cls.lesson_id == lesson_id)
        attempt = cls(
            user_id=user_id,
            course_id=course_id,
            lesson_id=lesson_id,
            attempt=session.scalars(before).one() + 1,
            answers=dict(answers),
            score_percent=score_percent,
            passed=score_percent >= lesson["completion"].get("min_score_percent", _PERFECT_SCORE_PERCENT),
            attempted_at=at,
        )
        session.add(attempt)
        return attempt

    @classmethod
    def list_page(
        cls, session: Session, user_id: UUID, lesson_id: UUID, *, after: int | None, limit: int
    ) -> list[dict[str, Any]]:
        """Return up to ``limit`` attempts of a learner below number ``after``, newest first."""
        theirs = select(cls).where(cls.user_id == user_id, cls.lesson_id == lesson_id)
        newest_first = theirs.order_by(cls.attempt.desc()).limit(limit)
        attempts = session.scalars(newest_first.where(cls.attempt < after) if after else newest_first)
        return [{**each.to_response(), "attempted_at": each.attempted_at, "answers": each.answers} for each in attempts]

    @classmethod
    def list_for_user(cls, session: Session, user_id: UUID) -> list[dict[str, Any]]:
        theirs = session.scalars(select(cls).where(cls.user_id == user_id).order_by(cls.attempted_at))
        return [
            {
                "course_id": each.course_id,
                "lesson_id": each.lesson_id,
                "attempted_at": each.attempted_at,
                "answers": each.answers,
                **each.to_response(),
            }
            for each in theirs
        ]

    @classmethod
    def erase(cls, session: Session, user_id: UUID) -> int:
        return len(session.scalars(delete(cls).where(cls.user_id == user_id).returning(cls.attempt)).all())

    def to_response(self) -> dict[str, Any]:
        return {"attempt": self.attempt, "score_percent": self.score_percent, "passed": self.passed}

    def to_event(self) -> QuizAttempted:
        return QuizAttempted(
            user_id=self.user_id,
            course_id=self.course_id,
            lesson_id=self.lesson_id,
            attempt=self.attempt,
            score_percent=self.score_percent,
            passed=self.passed,
            attempted_at=self.attempted_at,
        )


def grade(lesson: Mapping[str, Any], answers: Answers) -> int:
    """Return the score in percent, rounded down.

    A question counts as correct if exactly the correct options were chosen.

    Raises LessonIsNotAQuiz, InvalidAnswers.
    """
    questions = {question["id"]: question for question in lesson["content"].get("questions", [])}
    if not questions:
        raise LessonIsNotAQuiz(lesson["id"])
    for question_id, chosen in answers.items():
        if question_id not in questions:
            raise InvalidAnswers(question_id)
        options = {option["id"] for option in questions[question_id]["options"]}
        for option_id in set(chosen) - options:
            raise InvalidAnswers(option_id)
    correct = sum(set(answers.get(name, [])) == set(question["correct"]) for name, question in questions.items())
    return 100 * correct // len(questions)
