"""Progress of learners: start a course, complete and reopen lessons, store positions."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.bus.applied_versions import AppliedVersion
from core.bus.outbox import record
from core.cache import invalidation_marker, progress_version_key
from core.db import utc_now
from models.commands.progress import StartEnrolledCourse
from models.errors import ProjectionNotReady
from models.events import AccessEndChanged, CertificateIssued, EnrollmentCreated, EnrollmentEnded, QuizAttempted
from models.personal_data import is_erased
from models.progress import CourseProgress, learner_events
from models.progress.course_start import CourseStart, insert_started
from workers import task
from workers.runtime.dependencies import CacheAfterCommit

from .certificates import reinstate_after_refund, revoke_after_refund
from .positions import store_position

# Names under which AppliedVersion stores versions for this service; the keys begin with the user id.
ENDED_ENROLLMENTS = "progress.ended_enrollments"
PASSED_QUIZZES = "progress.passed_quizzes"  # the version is the number of the attempt


@task
def start_course(
    session: Session,
    cache_after_commit: CacheAfterCommit,
    *,
    event: EnrollmentCreated,
    event_version: int | None = None,
) -> None:
    """Start or reopen a learner's progress when access begins.

    Raises ProjectionNotReady if the outline of the learner's version is not known yet.
    """
    enrollment = StartEnrolledCourse(
        user_id=event.user_id,
        course_id=event.course_id,
        course_version=event.course_version,
        enrolled_at=event.enrolled_at,
        enrollment_version=event_version or 0,
        access_ends_at=event.access_ends_at,
    )
    known = _read_start(session, enrollment)
    if not known.is_started or not _reopen_course(session, cache_after_commit, enrollment, event_version):
        _start_course(session, cache_after_commit, enrollment, known)


@task
def start_enrolled_course(
    session: Session,
    cache_after_commit: CacheAfterCommit,
    *,
    user_id: UUID,
    course_id: UUID,
    course_version: int | None,
    enrolled_at: datetime,
    enrollment_version: int,
    access_ends_at: datetime | None = None,
) -> None:
    """Start or reopen a course before ENROLLMENT_CREATED arrives, which then changes nothing.

    The sender has asked the courses service, so that learners can begin while events are delayed. Raises
    ProjectionNotReady as ``start_course`` does.
    """
    enrollment = StartEnrolledCourse(
        user_id=user_id,
        course_id=course_id,
        course_version=course_version,
        enrolled_at=enrolled_at,
        enrollment_version=enrollment_version,
        access_ends_at=access_ends_at,
    )
    known = _read_start(session, enrollment)
    if known.is_started and _reopen_course(session, cache_after_commit, enrollment, enrollment_version):
        return
    try:
        with session.begin_nested():
            _start_course(session, cache_after_commit, enrollment, known)
    except IntegrityError:  # a concurrent ENROLLMENT_CREATED has started the course
        _reopen_course(session, cache_after_commit, enrollment, enrollment_version)


def _reopen_course(
    session: Session, cache_after_commit: CacheAfterCommit, enrollment: StartEnrolledCourse, version: int | None
) -> bool:
    """Reopen progress that exists already, unless a newer event was applied. Return whether it exists."""
    existing = CourseProgress.locked_or_none(session, enrollment.user_id, enrollment.course_id)
    if existing and existing.accept_version(version):
        events = existing.open_again(ends_at=enrollment.access_ends_at, at=utc_now())  # earlier progress still counts
        reinstate_after_refund(session, existing)
        record(session, existing, *events)
        cache_after_commit(progress_version_key(enrollment.user_id), invalidation_marker)
    return existing is not None


def _read_start(session: Session, enrollment: StartEnrolledCourse) -> CourseStart:
    return CourseStart.read(
        session, enrollment.user_id, enrollment.course_id, enrollment.course_version, ended=ENDED_ENROLLMENTS
    )


def _start_course(
    session: Session, cache_after_commit: CacheAfterCommit, enrollment: StartEnrolledCourse, known: CourseStart
) -> None:
    """Start the course on the learner's version. Raises ProjectionNotReady."""
    if known.is_erased:
        return
    outline = known.outline
    if outline is None:
        raise ProjectionNotReady("outline of course", str(enrollment.course_id))
    progress = CourseProgress.start(user_id=enrollment.user_id, outline=outline, at=enrollment.enrolled_at)
    progress.accept_version(enrollment.enrollment_version)
    progress.access_ends_at = enrollment.access_ends_at
    if 0 < enrollment.enrollment_version < known.ended_version:  # ENROLLMENT_ENDED came first
        progress.accept_version(known.ended_version)
        progress.closed_at = utc_now()
    record(session, progress, learner_events.course_started(progress))
    if enrollment.course_version not in {None, outline.course_version}:  # it was published for all learners
        record(session, progress, learner_events.course_version_changed(progress, utc_now()))
    insert_started(session, progress)  # with its version after the events
    cache_after_commit(progress_version_key(enrollment.user_id), invalidation_marker)


@task
def close_course_progress(
    session: Session, cache_after_commit: CacheAfterCommit, *, event: EnrollmentEnded, event_version: int | None = None
) -> None:
    """Close the progress in a course whose access has ended; the progress is kept."""
    if existing := session.get(CourseProgress, (event.user_id, event.course_id), with_for_update=True):
        if existing.accept_version(event_version):
            existing.close(reason=event.reason, at=event.ended_at)
            revoke_after_refund(session, existing)
            cache_after_commit(progress_version_key(event.user_id), invalidation_marker)
    elif not is_erased(session, "progress", event.user_id):
        AppliedVersion.advance(session, ENDED_ENROLLMENTS, f"{event.user_id}:{event.course_id}", event_version)


@task
def change_access_end(
    session: Session, cache_after_commit: CacheAfterCommit, *, event: AccessEndChanged, event_version: int | None = None
) -> None:
    """Store when the access to a course ends. Raises ProjectionNotReady if the course has not been started."""
    progress = CourseProgress.locked_or_none(session, event.user_id, event.course_id)
    if progress is None:
        if is_erased(session, "progress", event.user_id):
            return
        raise ProjectionNotReady("progress in course", str(event.course_id))
    if progress.accept_version(event_version):
        progress.access_ends_at = event.ends_at
        cache_after_commit(progress_version_key(event.user_id), invalidation_marker)


@task
def complete_lesson(
    session: Session, cache_after_commit: CacheAfterCommit, *, user_id: UUID, course_id: UUID, lesson_id: UUID
) -> dict[str, Any]:
    """Mark a lesson complete.

    Raises NotEnrolled, PrerequisiteMissing, NotFound, LessonLocked, LessonNotOpen, QuizNotPassed.
    """
    progress = CourseProgress.read_for_update(session, user_id, course_id)
    progress.require_prerequisites(session)
    if events := progress.complete(session, lesson_id, at=utc_now()):
        record(session, progress, *events)
        progress.write(session)
    cache_after_commit(progress_version_key(user_id), invalidation_marker)
    return progress.to_response()


@task
def complete_quiz_lesson(session: Session, cache_after_commit: CacheAfterCommit, *, event: QuizAttempted) -> None:
    """Complete the lesson of a passed quiz. Raises ProjectionNotReady if the learner's progress has not started yet.

    An attempt that was applied before has no effect, because the learner may have reopened the lesson since. Progress
    that is closed counts it too, because access may be restored: the event may be late, or the attempt was graded after
    access had ended because its time was over. The latter finishes no course before access is back.
    """
    if not event.passed or is_erased(session, "progress", event.user_id):
        return
    progress = CourseProgress.locked_or_none(session, event.user_id, event.course_id)
    if progress is None:
        raise ProjectionNotReady("progress in course", str(event.course_id))
    _complete_by_quiz(session, cache_after_commit, progress, event.lesson_id, event.attempt, at=event.attempted_at)


@task
def complete_passed_quiz(
    session: Session,
    cache_after_commit: CacheAfterCommit,
    *,
    user_id: UUID,
    course_id: UUID,
    lesson_id: UUID,
    attempt: int,
    attempted_at: datetime,
) -> None:
    """Complete the lesson of a passed quiz before QUIZ_ATTEMPTED arrives, which then changes nothing.

    Raises NotEnrolled.
    """
    progress = CourseProgress.get_for_update(session, user_id, course_id)
    _complete_by_quiz(session, cache_after_commit, progress, lesson_id, attempt, at=attempted_at)


def _complete_by_quiz(
    session: Session,
    cache_after_commit: CacheAfterCommit,
    progress: CourseProgress,
    lesson_id: UUID,
    attempt: int,
    *,
    at: datetime,
) -> None:
    """Complete the lesson of a passed quiz, unless this attempt or a later one was applied before."""
    if not AppliedVersion.advance(session, PASSED_QUIZZES, f"{progress.aggregate_id}:{lesson_id}", attempt):
        return
    events = progress.complete_by_quiz(session, lesson_id, at=at)
    record(session, progress, *events)
    if any(isinstance(event, CertificateIssued) for event in events):
        revoke_after_refund(session, progress)  # the refund was handled before this event
    cache_after_commit(progress_version_key(progress.user_id), invalidation_marker)


@task
def check_lesson_open(session: Session, *, user_id: UUID, course_id: UUID, lesson_id: UUID) -> None:
    """Check that a learner may open a lesson now.

    Raises NotEnrolled, PrerequisiteMissing, NotFound, LessonLocked, LessonNotOpen.
    """
    progress = CourseProgress.get_with_outline(session, user_id, course_id)
    progress.require_prerequisites(session)
    progress.require_open_lesson(session, lesson_id, at=utc_now())


@task
def reopen_lesson(
    session: Session, cache_after_commit: CacheAfterCommit, *, user_id: UUID, course_id: UUID, lesson_id: UUID
) -> dict[str, Any]:
    """Mark a lesson as not complete. Raises NotEnrolled, NotFound."""
    progress = CourseProgress.get_for_update(session, user_id, course_id)
    if event := progress.reopen(session, lesson_id, at=utc_now()):
        record(session, progress, event)
    cache_after_commit(progress_version_key(user_id), invalidation_marker)
    return progress.to_response()


@task
def move_position(
    session: Session,
    cache_after_commit: CacheAfterCommit,
    *,
    user_id: UUID,
    course_id: UUID,
    lesson_id: UUID,
    position_seconds: int,
    from_seconds: int | None = None,
) -> dict[str, Any]:
    """Store the playback position in a lesson, and the part watched since ``from_seconds``.

    Completes the lesson if its completion rule is met by viewing.

    Raises NotEnrolled, PrerequisiteMissing, NotFound, LessonLocked, LessonNotOpen.
    """
    progress = _get_accessible_progress(session, user_id, course_id)
    cache_after_commit(progress_version_key(user_id), invalidation_marker)
    at = utc_now()
    progress.require_open_lesson(session, lesson_id, at=at)
    position, begin = progress.watched_part(lesson_id, position_seconds, from_seconds)
    progress.note_activity(lesson_id, at=at)
    view, completions = store_position(session, progress, lesson_id, position, begin, at=at)
    record(session, progress, *completions)
    return view


def _get_accessible_progress(session: Session, user_id: UUID, course_id: UUID) -> CourseProgress:
    """Return a learner's progress, locked. Raises NotEnrolled, PrerequisiteMissing."""
    progress = CourseProgress.get_for_update(session, user_id, course_id)
    progress.require_prerequisites(session)
    return progress
