"""Enrollment, lessons and quizzes for learners. Access depends on grants alone."""

from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy.orm import Session

from core.bus.outbox import record
from core.db import utc_now
from core.messaging.event_messages import ReceivedEvent
from models.commands.courses import Caller, EnrollmentCursor
from models.courses.course import Course
from models.courses.enrollments import Enrollment
from models.courses.outline import Lesson, opens_at, without_answers
from models.courses.quizzes import QuizAttempt
from models.courses.versions import CourseVersion, PublishedLesson
from models.errors import LessonLocked, LessonNotOpen, NotEnrolled, PaymentRequired, PrerequisiteMissing, TokenMissing
from models.events import LessonCompleted, LessonReopened
from workers import batch_handler, projection, task

from .access import grant_course_access


@task
def enroll(session: Session, *, user_id: UUID, course_id: UUID) -> dict[str, Any]:
    """Enroll a user in a free course and return the enrollment, also if it exists already.

    Raises NotFound if the course is not on sale, PaymentRequired if it is not free.
    """
    title, price_minor = CourseVersion.get_title_and_price(session, course_id)
    if price_minor:
        raise PaymentRequired(str(course_id))
    enrollment = grant_course_access(
        session,
        user_id=user_id,
        course_id=course_id,
        course_title=title,
        source="free",
        source_id=str(course_id),
    )
    return enrollment.to_response(at=utc_now())


@task
def enroll_user_as_admin(session: Session, *, user_id: UUID, course_id: UUID, granted_by: UUID) -> dict[str, Any]:
    """Enroll a user on behalf of an admin, at any price. Raises NotFound if the course was never published."""
    version = CourseVersion.get_latest(session, course_id)
    enrollment = grant_course_access(
        session,
        user_id=user_id,
        course_id=course_id,
        course_title=version.title,
        source="manual",
        source_id=str(granted_by),
    )
    # Gives access again that the same member of staff gave and that was revoked since.
    if event := enrollment.restore("manual", str(granted_by), course_title=version.title, at=utc_now()):
        record(session, enrollment, event)
    return enrollment.to_response(at=utc_now())


@task
def list_enrollments(session: Session, *, user_id: UUID, after: EnrollmentCursor | None, limit: int) -> dict[str, Any]:
    """Return a page of a user's enrollments, the newest first: {"items", "next"}."""
    at = utc_now()
    enrollments, following = Enrollment.list_page(session, user_id, after, limit)
    return {"items": [enrollment.to_response(at=at) for enrollment in enrollments], "next": following}


@task
def show_access(session: Session, *, user_id: UUID, course_id: UUID) -> dict[str, Any]:
    """Return whether a user has access to a course, and the grants that give it. Raises NotFound."""
    if enrollment := Enrollment.find(session, user_id, course_id):
        return enrollment.to_access_response(at=utc_now())
    CourseVersion.get_latest(session, course_id)
    return {"access": False, "grants": [], "reason": "not_enrolled"}


@batch_handler
def update_progress_on_completion(session: Session, *, events: list[ReceivedEvent]) -> None:
    """Store the numbers of completed lessons, which lists of enrollments show."""
    completed = [(msgspec.convert(each.event, LessonCompleted), each.event_version) for each in events]
    Enrollment.update_progress(session, completed)


@batch_handler
def update_progress_on_reopen(session: Session, *, events: list[ReceivedEvent]) -> None:
    """Update the numbers of completed lessons after lessons were reopened."""
    reopened = [(msgspec.convert(each.event, LessonReopened), each.event_version) for each in events]
    Enrollment.update_progress(session, reopened)


# The handlers named on_… are called by rebuilds.


def on_lesson_completed(session: Session, *, event: LessonCompleted, event_version: int | None = None) -> None:
    """Store the number of completed lessons."""
    Enrollment.update_progress(session, [(event, event_version)])


def on_lesson_reopened(session: Session, *, event: LessonReopened, event_version: int | None = None) -> None:
    """Update the number of completed lessons after a lesson was reopened."""
    Enrollment.update_progress(session, [(event, event_version)])


projection(
    "courses.completion_counts",
    clear_rows=Enrollment.clear_progress,
    handlers=[on_lesson_completed, on_lesson_reopened],
)


@task
def show_lesson(session: Session, *, course_id: UUID, lesson_id: UUID, caller: Caller | None) -> dict[str, Any]:
    """Return a lesson with its contents and the version of the course that it belongs to: {"version", "view"}.

    The author gets the working copy, learners the published lesson; a free preview needs no enrollment or token.
    Raises NotFound, TokenMissing, NotEnrolled, PrerequisiteMissing, LessonLocked, LessonNotOpen.
    """
    course = Course.get(session, str(course_id))
    if caller and course.may_be_changed_by(caller):
        return {"version": course.version, "view": Lesson.get(session, course_id, lesson_id).to_dict()}
    published = PublishedLesson.get_latest(session, course_id, lesson_id)
    if not published.is_preview_of(course):
        if caller is None:
            raise TokenMissing
        _require_lesson_access(session, Enrollment.find(session, caller.user_id, course_id), published)
    return {"version": published.course_version, "view": without_answers(published.lesson)}


@task
def attempt_quiz(
    session: Session, *, user_id: UUID, course_id: UUID, lesson_id: UUID, answers: dict[str, list[str]]
) -> dict[str, Any]:
    """Grade a learner's answers to a quiz. A passed quiz completes a lesson whose completion rule is min_score.

    Raises NotFound, NotEnrolled, PrerequisiteMissing, LessonLocked, LessonNotOpen, LessonIsNotAQuiz, InvalidAnswers.
    """
    published = PublishedLesson.get_latest(session, course_id, lesson_id)
    enrollment = Enrollment.find(session, user_id, course_id, for_update=True)
    enrollment = _require_lesson_access(session, enrollment, published)
    attempt = QuizAttempt.create(
        session, published.lesson, user_id=user_id, course_id=course_id, answers=answers, at=utc_now()
    )
    record(session, enrollment, attempt.to_event())
    return attempt.to_response()


def _require_lesson_access(session: Session, enrollment: Enrollment | None, published: PublishedLesson) -> Enrollment:
    """Return the enrollment if the learner may take this lesson now.

    Raises NotEnrolled, PrerequisiteMissing, LessonLocked, LessonNotOpen.
    """
    if enrollment is None or not enrollment.has_access(utc_now()):
        raise NotEnrolled(str(published.course_id))
    version = session.get_one(CourseVersion, (published.course_id, published.course_version))
    for missing in Enrollment.filter_incomplete(session, enrollment.user_id, _required_now(session, version)):
        raise PrerequisiteMissing(str(missing))
    if version.sequential and (first := enrollment.blocking_lesson(published.lesson["id"], version.lesson_ids())):
        raise LessonLocked(first)
    opens = opens_at(published.lesson["unlock"], enrolled_at=enrollment.enrolled_at)
    if utc_now() < opens:
        raise LessonNotOpen(opens.isoformat())
    return enrollment


def _required_now(session: Session, version: CourseVersion) -> list[UUID]:
    """Return the prerequisites of a version that its author still requires and that can be completed at present."""
    if not version.prerequisites:
        return []
    latest = CourseVersion.get_latest(session, version.course_id)
    wanted = [each for each in version.prerequisites if each in latest.prerequisites]
    on_sale = set(Course.filter_on_sale(session, wanted))
    return [each for each in wanted if each in on_sale]
