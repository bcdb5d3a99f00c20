"""Attempts at quizzes: start, time limit, grading and review. Only the courses service knows the correct answers."""

import random
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Self
from uuid import UUID

from sqlalchemy import delete, func, select, tuple_
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base
from models.errors import AttemptClosed, AttemptExpired, AttemptsExhausted, NotFound
from models.events import QuizAttempted

from .extra_attempts import ExtraAttempts
from .quiz_content import Answers, Quiz, Result, ShownQuestion, round_points
from .versions import PublishedLesson

# A player submits when the time is over, and the request takes a moment. It is not part of the time that learners see.
GRACE = timedelta(seconds=15)


class AttemptKey(NamedTuple):
    user_id: UUID
    lesson_id: UUID
    attempt: int
    course_id: UUID
    expires_at: datetime


class QuizAttempt(Base):
    """A learner's attempt at a quiz: open until it is submitted or its time is over, then graded."""

    __tablename__ = "quiz_attempts"
    __table_args__ = ({"schema": "courses"},)

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    lesson_id: Mapped[UUID] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)  # number of the attempt: 1, 2, 3 …
    course_id: Mapped[UUID]
    status: Mapped[str] = mapped_column(default="submitted")  # open, submitted, expired: graded when the time was over
    # None in attempts of version 0.2 and before, which did not store them.
    course_version: Mapped[int | None]  # the version whose questions are asked, also if the learner takes another since
    layout: Mapped[list[dict[str, Any]] | None] = mapped_column(JSONB(none_as_null=True))  # ShownQuestion.to_dict()
    points: Mapped[dict[str, float] | None] = mapped_column(JSONB(none_as_null=True))  # earned, by question id
    points_earned: Mapped[float | None]
    points_total: Mapped[int | None]
    started_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    answers: Mapped[dict[str, Any]]
    # None while the attempt is open.
    score_percent: Mapped[int | None]
    passed: Mapped[bool | None]
    attempted_at: Mapped[datetime | None]  # when it was graded

    @classmethod
    def start(cls, session: Session, published: PublishedLesson, *, user_id: UUID, at: datetime) -> Self:
        """Add the learner's next attempt at a quiz; their enrollment must be locked and no attempt open.

        Raises LessonIsNotAQuiz, AttemptsExhausted.
        """
        quiz = Quiz(published.lesson)
        started = cls.count_started(session, user_id, published.lesson_id)
        if quiz.attempts_max is not None:
            allowed = quiz.attempts_max + ExtraAttempts.count(session, user_id, published.lesson_id)
            if started >= allowed:
                raise AttemptsExhausted(str(allowed))
        limit_seconds = quiz.time_limit_seconds
        layout = quiz.draw(random.SystemRandom())
        attempt = cls(
            user_id=user_id,
            course_id=published.course_id,
            lesson_id=published.lesson_id,
            attempt=started + 1,
            status="open",
            course_version=published.course_version,
            layout=[each.to_dict() for each in layout],
            points_total=quiz.points_total(layout),
            started_at=at,
            expires_at=at + timedelta(seconds=limit_seconds) if limit_seconds else None,
            answers={},
        )
        session.add(attempt)
        return attempt

    @classmethod
    def find_open(cls, session: Session, user_id: UUID, lesson_id: UUID) -> Self | None:
        """Return the learner's open attempt at a quiz; None if there is none."""
        wanted = select(cls).where(cls.user_id == user_id, cls.lesson_id == lesson_id, cls.status == "open")
        return session.scalars(wanted.execution_options(populate_existing=True)).one_or_none()

    @classmethod
    def get(cls, session: Session, user_id: UUID, lesson_id: UUID, attempt: int) -> Self:
        """Return an attempt of a learner. Raises NotFound."""
        found = session.get(cls, (user_id, lesson_id, attempt), populate_existing=True)
        if found is None:
            raise NotFound("attempt", str(attempt))
        return found

    @classmethod
    def count_started(cls, session: Session, user_id: UUID, lesson_id: UUID) -> int:
        """Return the number of the learner's attempts at a quiz, open ones included."""
        return session.scalars(select(func.count()).where(cls.user_id == user_id, cls.lesson_id == lesson_id)).one()

    @classmethod
    def best_result(cls, session: Session, user_id: UUID, lesson_id: UUID) -> dict[str, Any]:
        """Return the learner's best score at a quiz and whether they have passed it."""
        theirs = (cls.user_id == user_id, cls.lesson_id == lesson_id)
        row = session.execute(select(func.max(cls.score_percent), func.bool_or(cls.passed)).where(*theirs)).one()
        return {"best_score_percent": row[0], "passed": bool(row[1])}

    @classmethod
    def list_overdue(cls, session: Session, *, at: datetime, after: AttemptKey | None, limit: int) -> list[AttemptKey]:
        """Return up to ``limit`` open attempts whose time is over, the longest first, without a lock."""
        columns: list[Any] = [getattr(cls, name) for name in AttemptKey._fields]
        overdue = select(*columns).where(cls.status == "open", cls.expires_at < at - GRACE)
        order = (cls.expires_at, cls.user_id, cls.lesson_id)
        if after:
            overdue = overdue.where(tuple_(*order) > (after.expires_at, after.user_id, after.lesson_id))
        return [AttemptKey(*each) for each in session.execute(overdue.order_by(*order).limit(limit))]

    @classmethod
    def list_page(
        cls, session: Session, user_id: UUID, lesson_id: UUID, *, after: int | None, limit: int
    ) -> list[dict[str, Any]]:
        """Return up to ``limit`` attempts of a learner below number ``after``, newest first."""
        theirs = select(cls).where(cls.user_id == user_id, cls.lesson_id == lesson_id)
        newest_first = theirs.order_by(cls.attempt.desc()).limit(limit)
        attempts = session.scalars(newest_first.where(cls.attempt < after) if after else newest_first)
        return [each.to_list_item() for each in attempts]

    @classmethod
    def list_for_user(cls, session: Session, user_id: UUID) -> list[dict[str, Any]]:
        theirs = session.scalars(select(cls).where(cls.user_id == user_id).order_by(cls.started_at, cls.attempted_at))
        return [{"course_id": each.course_id, "lesson_id": each.lesson_id, **each.to_list_item()} for each in theirs]

    @classmethod
    def erase(cls, session: Session, user_id: UUID) -> int:
        return len(session.scalars(delete(cls).where(cls.user_id == user_id).returning(cls.attempt)).all())

    def is_overdue(self, at: datetime) -> bool:
        return self.status == "open" and self.expires_at is not None and at > self.expires_at + GRACE

    def save(self, session: Session, answers: Answers, *, at: datetime) -> None:
        """Store answers that count if the time ends before a submission.

        Raises AttemptClosed, AttemptExpired, InvalidAnswers.
        """
        self._require_open(at)
        self._quiz(session).require_answers(self._layout(), answers)
        self.answers = dict(answers)

    def submit(self, session: Session, answers: Answers, *, at: datetime) -> None:
        """Grade the answers by the version in which the attempt was started.

        Raises AttemptClosed, AttemptExpired, InvalidAnswers.
        """
        self._require_open(at)
        self._grade(session, answers, at=at)
        self.status = "submitted"

    def expire(self, session: Session) -> None:
        """Grade the saved answers of an attempt whose time is over."""
        assert self.expires_at is not None  # only attempts with a time limit expire
        self._grade(session, self.answers, at=self.expires_at)
        self.status = "expired"

    def _require_open(self, at: datetime) -> None:
        if self.status != "open":
            raise AttemptClosed(str(self.attempt))
        if self.is_overdue(at):
            raise AttemptExpired(str(self.attempt))

    def _grade(self, session: Session, answers: Answers, *, at: datetime) -> None:
        quiz = self._quiz(session)
        result: Result = quiz.grade(self._layout(), answers)
        self.answers, self.attempted_at = dict(answers), at
        self.points, self.points_total = result.rounded(), result.points_total
        self.points_earned = round_points(result.points_earned)
        self.score_percent = result.score_percent
        self.passed = result.score_percent >= quiz.pass_percent

    def _quiz(self, session: Session) -> Quiz:
        published = session.get_one(PublishedLesson, (self.course_id, self.lesson_id, self.course_version))
        return Quiz(published.lesson)

    def _layout(self) -> list[ShownQuestion]:
        return ShownQuestion.from_list(self.layout or [])

    def _shows_answers(self, session: Session, quiz: Quiz, attempts_left: int | None) -> bool:
        """Return whether the author lets the learner see the correct answers of this attempt now."""
        match quiz.show_answers:
            case "after_attempt":
                return True
            case "after_passing":
                theirs = (QuizAttempt.user_id == self.user_id, QuizAttempt.lesson_id == self.lesson_id)
                same_questions = QuizAttempt.course_version == self.course_version
                return bool(session.scalar(select(func.bool_or(QuizAttempt.passed)).where(*theirs, same_questions)))
            case "after_last_attempt":
                # The last attempt counts as used when it is started, and must be graded first.
                return attempts_left == 0 and self.find_open(session, self.user_id, self.lesson_id) is None
            case _:
                return False

    def to_list_item(self) -> dict[str, Any]:
        return {
            "attempt": self.attempt,
            "status": self.status,
            "started_at": self.started_at or self.attempted_at,
            "expires_at": self.expires_at,
            "attempted_at": self.attempted_at,
            "score_percent": self.score_percent,
            "passed": self.passed,
            "answers": self.answers,
        }

    def to_response(self, session: Session, *, attempts_left: int | None, at: datetime) -> dict[str, Any]:
        """Return the attempt as its learner saw it; with correct answers if the author shows them by now."""
        graded = self.status != "open"
        shows_answers, questions = False, list[dict[str, Any]]()
        if self.course_version is not None:
            quiz = self._quiz(session)
            shows_answers = graded and self._shows_answers(session, quiz, attempts_left)
            questions = quiz.review(self._layout(), self.points or {}) if shows_answers else quiz.show(self._layout())
        return {
            **self.to_list_item(),
            "course_version": self.course_version,
            "seconds_left": self._seconds_left(at),
            "points": self.points_earned,
            "points_total": self.points_total,
            "attempts_left": attempts_left,
            "answers_shown": shows_answers,
            "questions": questions,
        }

    def _seconds_left(self, at: datetime) -> int | None:
        if self.status != "open" or self.expires_at is None:
            return None
        return max(0, int((self.expires_at - at).total_seconds()))

    def to_event(self) -> QuizAttempted:
        assert self.score_percent is not None  # these three are set by _grade
        assert self.passed is not None
        assert self.attempted_at is not None
        return QuizAttempted(
            user_id=self.user_id,
            course_id=self.course_id,
            lesson_id=self.lesson_id,
            attempt=self.attempt,
            score_percent=self.score_percent,
            passed=self.passed,
            attempted_at=self.attempted_at,
        )
