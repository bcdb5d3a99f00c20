"""Quizzes for learners: start, save, submit and review attempts. The gateway has checked that the lesson is open."""

import time
from datetime import datetime
from typing import Any
from uuid import UUID

from redis.exceptions import RedisError
from sqlalchemy.orm import Session

from core.bus.outbox import record
from core.cache import invalidation_marker, progress_version_key, put_all
from core.db import utc_now
from core.log import get_logger
from models.commands.courses import Caller
from models.courses.course import Course
from models.courses.enrollments import Enrollment
from models.courses.extra_attempts import ExtraAttempts
from models.courses.quiz_content import Quiz
from models.courses.quizzes import AttemptKey, QuizAttempt
from models.courses.versions import PublishedLesson
from models.errors import AttemptNotStarted, NotFound
from workers import job, task
from workers.runtime.execution import Transactions

from .learning import require_access, require_open

log = get_logger(__name__)

_PAGE_SIZE = 100
_RUN_SECONDS = 10.0  # then the next run of the job continues, which begins with the oldest again


@task
def attempt_quiz(
    session: Session,
    *,
    user_id: UUID,
    course_id: UUID,
    lesson_id: UUID,
    answers: dict[str, list[str]],
    locks_checked: bool = False,
) -> dict[str, Any]:
    """Start and submit an attempt in one step; an open attempt is submitted instead.

    A passed quiz completes a lesson whose completion rule is min_score. Raises NotFound, NotEnrolled,
    LessonIsNotAQuiz, InvalidAnswers, AttemptNotStarted, AttemptExpired; unless ``locks_checked`` also
    PrerequisiteMissing, LessonLocked, LessonNotOpen.
    """
    enrollment, published = _get_for_update(session, user_id, course_id, lesson_id)
    if not locks_checked:
        require_open(session, enrollment, published)
    at = utc_now()
    attempt = QuizAttempt.find_open(session, user_id, lesson_id)
    if attempt is None:
        if Quiz(published.lesson).must_be_started:
            raise AttemptNotStarted(str(lesson_id))
        attempt = QuizAttempt.start(session, published, user_id=user_id, at=at)
    attempt.submit(session, answers, at=at)
    record(session, enrollment, attempt.to_event())
    names = ("attempt", "score_percent", "passed", "attempted_at")
    return {name: getattr(attempt, name) for name in names}


@task
def start_quiz_attempt(session: Session, *, user_id: UUID, course_id: UUID, lesson_id: UUID) -> dict[str, Any]:
    """Start an attempt at a quiz and return it with its questions; an open attempt is returned again.

    Raises NotFound, NotEnrolled, LessonIsNotAQuiz, AttemptsExhausted.
    """
    enrollment, published = _get_for_update(session, user_id, course_id, lesson_id)
    at = utc_now()
    attempt = QuizAttempt.find_open(session, user_id, lesson_id)
    if attempt and attempt.is_overdue(at):
        _expire(session, enrollment, attempt)
        attempt = None
    if attempt is None:
        attempt = QuizAttempt.start(session, published, user_id=user_id, at=at)
    return _respond(session, attempt, enrollment, at=at)


@task
def save_quiz_answers(
    session: Session, *, user_id: UUID, course_id: UUID, lesson_id: UUID, attempt: int, answers: dict[str, list[str]]
) -> dict[str, Any]:
    """Save the answers of an open attempt, which count if its time ends before a submission.

    Raises NotEnrolled, NotFound, AttemptClosed, AttemptExpired, InvalidAnswers.
    """
    enrollment, at = _lock_enrollment(session, user_id, course_id), utc_now()
    found = _get_attempt(session, user_id, course_id, lesson_id, attempt)
    found.save(session, answers, at=at)
    return _respond(session, found, enrollment, at=at)


@task
def submit_quiz_answers(
    session: Session, *, user_id: UUID, course_id: UUID, lesson_id: UUID, attempt: int, answers: dict[str, list[str]]
) -> dict[str, Any]:
    """Grade an open attempt by the version in which it was started, and return it.

    Raises NotEnrolled, NotFound, AttemptClosed, AttemptExpired, InvalidAnswers.
    """
    enrollment, at = _lock_enrollment(session, user_id, course_id), utc_now()
    found = _get_attempt(session, user_id, course_id, lesson_id, attempt)
    found.submit(session, answers, at=at)
    record(session, enrollment, found.to_event())
    return _respond(session, found, enrollment, at=at)


@task
def expire_quiz_attempt(
    session: Session, *, user_id: UUID, course_id: UUID, lesson_id: UUID, attempt: int
) -> dict[str, Any]:
    """Grade the saved answers of an attempt whose time is over, and return it. Raises NotEnrolled, NotFound."""
    enrollment, at = _lock_enrollment(session, user_id, course_id), utc_now()
    found = _get_attempt(session, user_id, course_id, lesson_id, attempt)
    if found.is_overdue(at):
        _expire(session, enrollment, found)
    return _respond(session, found, enrollment, at=at)


@task
def show_quiz_attempt(
    session: Session, *, user_id: UUID, course_id: UUID, lesson_id: UUID, attempt: int
) -> dict[str, Any]:
    """Return an attempt as its learner saw it. Raises NotEnrolled, NotFound."""
    enrollment = require_access(Enrollment.find(session, user_id, course_id), course_id)
    found = _get_attempt(session, user_id, course_id, lesson_id, attempt)
    return _respond(session, found, enrollment, at=utc_now())


@task
def list_quiz_attempts(
    session: Session, *, user_id: UUID, lesson_id: UUID, after: int | None, limit: int
) -> dict[str, Any]:
    """Return a page of a learner's attempts at a quiz, the newest first: {"items", "next"}."""
    found = QuizAttempt.list_page(session, user_id, lesson_id, after=after, limit=limit + 1)
    shown = found[:limit]
    return {"items": shown, "next": shown[-1]["attempt"] if len(found) > limit else None}


@task
def show_quiz(session: Session, *, user_id: UUID, course_id: UUID, lesson_id: UUID) -> dict[str, Any]:
    """Return the rules of a quiz and what the learner has used of them.

    Raises NotEnrolled, NotFound, LessonIsNotAQuiz.
    """
    enrollment = require_access(Enrollment.find(session, user_id, course_id), course_id)
    published = _published_for(session, enrollment, lesson_id)
    quiz, opened = Quiz(published.lesson), QuizAttempt.find_open(session, user_id, lesson_id)
    return {
        "course_version": published.course_version,
        "start_required": quiz.must_be_started,
        "questions_total": quiz.count_drawn(),
        "pass_percent": quiz.pass_percent,
        "time_limit_seconds": quiz.time_limit_seconds,
        "show_answers": quiz.show_answers,
        "attempts_max": quiz.attempts_max,
        "attempts_used": QuizAttempt.count_started(session, user_id, lesson_id),
        "attempts_left": _attempts_left(session, quiz, user_id, lesson_id),
        "open_attempt": opened.attempt if opened else None,
        **QuizAttempt.best_result(session, user_id, lesson_id),
    }


@task
def add_extra_attempts(
    session: Session, *, caller: Caller, course_id: UUID, lesson_id: UUID, user_id: UUID, attempts: int
) -> dict[str, Any]:
    """Give a learner more attempts at a quiz than its limit. Raises NotFound, LessonIsNotAQuiz."""
    Course.get_for_update(session, str(course_id), caller)
    enrollment = Enrollment.find(session, user_id, course_id, for_update=True)
    if enrollment is None:
        raise NotFound("learner", str(user_id))
    quiz = Quiz(_published_for(session, enrollment, lesson_id).lesson)
    place = {"user_id": user_id, "course_id": course_id, "lesson_id": lesson_id}
    given = ExtraAttempts.add(session, **place, attempts=attempts)
    return {
        "user_id": user_id,
        "lesson_id": lesson_id,
        "extra_attempts": given,
        "attempts_max": quiz.attempts_max,
        "attempts_used": QuizAttempt.count_started(session, user_id, lesson_id),
        "attempts_left": _attempts_left(session, quiz, user_id, lesson_id),
    }


@job
def expire_quiz_attempts(transactions: Transactions) -> None:
    """Grade the saved answers of all attempts whose time is over.

    An attempt that cannot be graded is logged and does not keep the others from being graded. The run then fails.
    """
    until, failure = time.monotonic() + _RUN_SECONDS, None
    after: AttemptKey | None = None
    while time.monotonic() < until:
        with transactions.begin() as session:
            overdue = QuizAttempt.list_overdue(session, at=utc_now(), after=after, limit=_PAGE_SIZE)
        failure = _expire_all(transactions, overdue) or failure
        if len(overdue) < _PAGE_SIZE:
            break
        after = overdue[-1]
    if failure:
        raise failure


def _expire_all(transactions: Transactions, overdue: list[AttemptKey]) -> Exception | None:
    """Grade the attempts, each in its transaction; return the last error."""
    failure: Exception | None = None
    for key in overdue:
        try:
            with transactions.begin() as session:
                _expire_by_key(session, key, at=utc_now())
        except Exception as error:
            log.exception("expired quiz attempt was not graded", lesson_id=str(key.lesson_id), attempt=key.attempt)
            failure = error
    _invalidate_pages({key.user_id for key in overdue})
    return failure


def _expire_by_key(session: Session, key: AttemptKey, *, at: datetime) -> None:
    enrollment = Enrollment.find(session, key.user_id, key.course_id, for_update=True)
    attempt = QuizAttempt.find_open(session, key.user_id, key.lesson_id)
    if enrollment and attempt and attempt.is_overdue(at):  # else submitted or erased since
        _expire(session, enrollment, attempt)


def _expire(session: Session, enrollment: Enrollment, attempt: QuizAttempt) -> None:
    attempt.expire(session)
    record(session, enrollment, attempt.to_event())


def _invalidate_pages(user_ids: set[UUID]) -> None:
    try:
        if user_ids:
            put_all([(progress_version_key(user_id), invalidation_marker()) for user_id in user_ids])
    except RedisError as error:
        log.warning("cache is unavailable", reason=str(error))


def _lock_enrollment(session: Session, user_id: UUID, course_id: UUID) -> Enrollment:
    """Return the enrollment, locked: it orders the attempts of the learner. Raises NotEnrolled."""
    return require_access(Enrollment.find(session, user_id, course_id, for_update=True), course_id)


def _get_for_update(
    session: Session, user_id: UUID, course_id: UUID, lesson_id: UUID
) -> tuple[Enrollment, PublishedLesson]:
    """Return the enrollment, locked, and the lesson of the learner's version. Raises NotFound, NotEnrolled."""
    enrollment = Enrollment.find(session, user_id, course_id, for_update=True)
    version = enrollment.course_version if enrollment else None
    published = PublishedLesson.get_latest(session, course_id, lesson_id, preferred_version=version)
    return require_access(enrollment, course_id), published


def _published_for(session: Session, enrollment: Enrollment, lesson_id: UUID) -> PublishedLesson:
    version = enrollment.course_version
    return PublishedLesson.get_latest(session, enrollment.course_id, lesson_id, preferred_version=version)


def _get_attempt(session: Session, user_id: UUID, course_id: UUID, lesson_id: UUID, attempt: int) -> QuizAttempt:
    """Return a learner's attempt at a quiz of this course. Raises NotFound."""
    found = QuizAttempt.get(session, user_id, lesson_id, attempt)
    if found.course_id != course_id:
        raise NotFound("attempt", str(attempt))
    return found


def _respond(session: Session, attempt: QuizAttempt, enrollment: Enrollment, *, at: datetime) -> dict[str, Any]:
    session.flush()
    attempts_left = None
    published = _published_for(session, enrollment, attempt.lesson_id)
    if published.lesson["content"].get("questions"):  # it may be a text in the version that the learner takes by now
        attempts_left = _attempts_left(session, Quiz(published.lesson), attempt.user_id, attempt.lesson_id)
    return attempt.to_response(session, attempts_left=attempts_left, at=at)


def _attempts_left(session: Session, quiz: Quiz, user_id: UUID, lesson_id: UUID) -> int | None:
    """Return how many attempts the learner may still start; None without a limit."""
    if quiz.attempts_max is None:
        return None
    used = QuizAttempt.count_started(session, user_id, lesson_id)
    return max(0, quiz.attempts_max + ExtraAttempts.count(session, user_id, lesson_id) - used)
