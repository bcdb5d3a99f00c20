"""Progress of learners: start a course, complete and reopen lessons, store positions, merge offline progress."""

from collections.abc import Iterator
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy.orm import Session

from models.applied_versions import AppliedVersion
from models.base import now
from models.cache import changed, progress_of
from models.errors import DomainError, ProjectionBehind
from models.events import EnrollmentCreated, EnrollmentEnded, QuizAttempted
from models.outbox import record
from models.personal import is_erased
from models.progress import CourseProgress, LessonPosition, Outline
from workers import task
from workers.resources import Remember

# Names under which AppliedVersion stores versions for this service; the keys begin with the user id.
ENDED_ENROLLMENTS = "progress.ended_enrollments"
PASSED_QUIZZES = "progress.passed_quizzes"  # the version is the number of the attempt


@task
def start_course(
    session: Session, remember: Remember, *, event: EnrollmentCreated, event_version: int | None = None
) -> None:
    """Start or reopen a learner's progress when access begins.

    Raises ProjectionBehind if the outline of the course is not known yet.
    """
    if begun := session.get(CourseProgress, (event.user_id, event.course_id), with_for_update=True):
        if begun.applies(event_version):
            begun.closed_at = None  # access is back; earlier progress still counts
            remember(progress_of(event.user_id), changed)
        return
    if is_erased(session, "progress", event.user_id):
        return
    outline = Outline.latest(session, event.course_id)
    if outline is None:
        raise ProjectionBehind("outline of course", str(event.course_id))
    progress = CourseProgress.start(user_id=event.user_id, outline=outline, at=event.enrolled_at)
    progress.applies(event_version)
    ended_version = AppliedVersion.current(session, ENDED_ENROLLMENTS, progress.aggregate_id)
    if event_version and ended_version > event_version:  # ENROLLMENT_ENDED arrived first
        progress.applies(ended_version)
        progress.closed_at = now()
    session.add(progress)
    record(session, progress, progress.started())
    remember(progress_of(event.user_id), changed)


@task
def close_course(
    session: Session, remember: Remember, *, event: EnrollmentEnded, event_version: int | None = None
) -> None:
    """Close the progress in a course whose access has ended; the progress is kept."""
    if begun := session.get(CourseProgress, (event.user_id, event.course_id), with_for_update=True):
        if begun.applies(event_version):
            begun.closed_at = event.ended_at
            remember(progress_of(event.user_id), changed)
    elif not is_erased(session, "progress", event.user_id):
        AppliedVersion.advance(session, ENDED_ENROLLMENTS, f"{event.user_id}:{event.course_id}", event_version)


@task
def complete_lesson(
    session: Session, remember: Remember, *, user_id: UUID, course_id: UUID, lesson_id: UUID
) -> dict[str, Any]:
    """Mark a lesson complete.

    Raises NotEnrolled, PrerequisiteMissing, NotFound, LessonLocked, LessonNotOpen, QuizNotPassed.
    """
    progress = _entered(session, user_id, course_id)
    _complete(session, progress, lesson_id, at=now())
    remember(progress_of(user_id), changed)
    return progress.view()


@task
def complete_passed_quiz(session: Session, remember: Remember, *, event: QuizAttempted) -> None:
    """Complete the lesson of a passed quiz. Raises ProjectionBehind if the learner's progress has not started yet.

    An attempt that was applied before has no effect, because the learner may have reopened the lesson since. Progress
    that is closed counts it too: the courses service checked access before grading, and access may be restored.
    """
    if not event.passed or is_erased(session, "progress", event.user_id):
        return
    progress = CourseProgress.locked_or_none(session, event.user_id, event.course_id)
    if progress is None:
        raise ProjectionBehind("progress in course", str(event.course_id))
    key = f"{progress.aggregate_id}:{event.lesson_id}"
    if not AppliedVersion.advance(session, PASSED_QUIZZES, key, event.attempt):
        return
    record(session, progress, *progress.pass_quiz(event.lesson_id, at=event.attempted_at))
    remember(progress_of(event.user_id), changed)


@task
def reopen_lesson(
    session: Session, remember: Remember, *, user_id: UUID, course_id: UUID, lesson_id: UUID
) -> dict[str, Any]:
    """Mark a lesson as not complete. Raises NotEnrolled, NotFound."""
    progress = CourseProgress.locked(session, user_id, course_id)
    if event := progress.reopen(lesson_id, at=now()):
        record(session, progress, event)
    remember(progress_of(user_id), changed)
    return progress.view()


@task
def move_position(
    session: Session, remember: Remember, *, user_id: UUID, course_id: UUID, lesson_id: UUID, position_seconds: int
) -> dict[str, Any]:
    """Store the playback position in a lesson; complete the lesson if its completion rule is met by viewing.

    Raises NotEnrolled, PrerequisiteMissing, NotFound, LessonLocked, LessonNotOpen.
    """
    progress = _entered(session, user_id, course_id)
    remember(progress_of(user_id), changed)
    return _move(session, progress, lesson_id, position_seconds, at=now())


class OfflineEvent(msgspec.Struct, kw_only=True):
    """A learner's action while the device was offline; the device assigns ``id``."""

    id: str
    course_id: UUID
    lesson_id: UUID
    kind: str  # completed, position
    position_seconds: int | None = None
    at: datetime


@task
def merge_progress(
    session: Session, remember: Remember, *, user_id: UUID, events: list[OfflineEvent]
) -> dict[str, Any]:
    """Apply offline actions; return {"results": [{"id", "merged", "code", "detail"}]} in the order of ``events``.

    Safe to repeat, because offline actions only add progress. An event that is refused does not affect the others.
    """
    by_course = groupby(sorted(events, key=attrgetter("course_id", "at")), key=attrgetter("course_id"))
    results: dict[int, Any] = {}  # by identity: ``OfflineEvent.id`` is unique per device only
    for course_id, done in by_course:  # sorted, so that two batches of a learner cannot deadlock
        results |= _merge(session, user_id, course_id, list(done))
    remember(progress_of(user_id), changed)
    return {"results": [results[id(event)] for event in events]}


def _merge(
    session: Session, user_id: UUID, course_id: UUID, events: list[OfflineEvent]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Apply the events of one course in order; yield (identity of the event, result)."""
    progress: CourseProgress | None = None
    for event in events:
        refusal = None
        try:
            progress = progress or _entered(session, user_id, course_id)
            _make_up(session, progress, event)
        except DomainError as error:
            refusal = error
        yield id(event), _result(event, refusal)


def _make_up(session: Session, progress: CourseProgress, event: OfflineEvent) -> None:
    """Apply one offline event at its time, limited to the time between the start of the course and now."""
    at = max(progress.started_at, min(event.at, now()))  # the clock of the device may be wrong
    if event.kind == "position":
        _move(session, progress, event.lesson_id, event.position_seconds or 0, at=at)
    else:
        _complete(session, progress, event.lesson_id, at=at)


def _result(event: OfflineEvent, refusal: DomainError | None) -> dict[str, Any]:
    return {
        "id": event.id,
        "merged": refusal is None,
        "code": refusal and refusal.code,
        "detail": refusal and str(refusal),
    }


def _move(
    session: Session, progress: CourseProgress, lesson_id: UUID, position_seconds: int, *, at: datetime
) -> dict[str, Any]:
    progress.open_lesson(lesson_id, at=at)
    view = LessonPosition.move(
        session,
        user_id=progress.user_id,
        course_id=progress.course_id,
        lesson_id=lesson_id,
        position_seconds=position_seconds,
        at=at,
    )
    if view["moved_at"] == at:
        progress.last_lesson_id = lesson_id
    if progress.has_viewed(lesson_id, view["furthest_seconds"]):
        _complete(session, progress, lesson_id, at=at)
    return view


def _entered(session: Session, user_id: UUID, course_id: UUID) -> CourseProgress:
    """Return a learner's progress, locked. Raises NotEnrolled, PrerequisiteMissing."""
    progress = CourseProgress.locked(session, user_id, course_id)
    progress.expect_prerequisites(session)
    return progress


def _complete(session: Session, progress: CourseProgress, lesson_id: UUID, *, at: datetime) -> None:
    record(session, progress, *progress.complete(lesson_id, at=at))
