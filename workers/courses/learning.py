"""Enrollment and lessons for learners. Access depends on grants alone."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db import utc_now
from core.messaging.event_messages import ReceivedEvent
from models.commands.courses import Caller, EnrollmentCursor
from models.courses.course import Course
from models.courses.enrollments import Enrollment
from models.courses.learner_courses import list_learner_courses as list_with_titles
from models.courses.learner_courses import show_learner_course as show_with_outline
from models.courses.outline import Lesson, opens_at
from models.courses.quiz_content import without_answers
from models.courses.versions import CourseVersion, PublishedLesson
from models.errors import LessonLocked, LessonNotOpen, NotEnrolled, PaymentRequired, PrerequisiteMissing, TokenMissing
from models.events import CourseVersionChanged, LessonCompleted, LessonReopened
from workers import batch_handler, projection, task

from .access import LEFT, grant_course_access, record_access
from .access_ends import grant_by_staff
from .files import with_links


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
    has_left = any(grant.source == "free" and grant.reason == LEFT for grant in enrollment.grants)
    at = utc_now()
    if has_left:
        joined = enrollment.restore("free", str(course_id), course_title=title, at=at)
        record_access(session, enrollment, joined, at=at)
    return enrollment.to_response(at=at)


@task
def enroll_user_as_admin(
    session: Session, *, user_id: UUID, course_id: UUID, granted_by: UUID, ends_at: datetime | None = None
) -> dict[str, Any]:
    """Enroll a user on behalf of an admin, at any price; access ends at ``ends_at``, or never.

    Raises NotFound if the course was never published, EndInPast.
    """
    version = CourseVersion.get_latest(session, course_id)
    enrollment = grant_by_staff(
        session,
        user_id=user_id,
        course_id=course_id,
        course_title=version.title,
        granted_by=granted_by,
        ends_at=ends_at,
    )
    return enrollment.to_response(at=utc_now())


@task
def list_enrollments(session: Session, *, user_id: UUID, after: EnrollmentCursor | None, limit: int) -> dict[str, Any]:
    """Return a page of a user's enrollments, the newest first: {"items", "next"}."""
    at = utc_now()
    enrollments, following = Enrollment.list_page(session, user_id, after, limit)
    return {"items": [enrollment.to_response(at=at) for enrollment in enrollments], "next": following}


@task
def show_active_enrollment(session: Session, *, user_id: UUID, course_id: UUID) -> dict[str, Any]:
    """Return the enrollment of a user who has access, as the progress service needs it to start the course.

    Raises NotEnrolled, also for a course that does not exist.
    """
    enrollment = Enrollment.find(session, user_id, course_id)
    if enrollment is None or not enrollment.has_access(utc_now()):
        raise NotEnrolled(str(course_id))
    return enrollment.to_start_message()


@task
def list_learner_courses(
    session: Session, *, user_id: UUID, after: EnrollmentCursor | None, limit: int
) -> dict[str, Any]:
    """Return a page of a learner's courses with titles and covers, the newest first: {"items", "next"}."""
    items, following = list_with_titles(session, user_id, after=after, limit=limit, at=utc_now())
    return {"items": items, "next": following}


@task
def show_learner_course(
    session: Session, *, user_id: UUID, course_id: UUID, course_version: int | None = None
) -> dict[str, Any]:
    """Return a learner's course with the outline of their version. Raises NotEnrolled, NotFound."""
    return show_with_outline(session, user_id, course_id, course_version=course_version, at=utc_now())


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


@batch_handler
def change_enrolled_version_by_event(session: Session, *, events: list[ReceivedEvent]) -> None:
    """Store the versions that learners have moved to, with their numbers of completed lessons."""
    changed = [(msgspec.convert(each.event, CourseVersionChanged), each.event_version) for each in events]
    Enrollment.update_progress(session, changed)


@task
def change_enrolled_version(session: Session, *, user_id: UUID, course_id: UUID, course_version: int) -> None:
    """Store the version that a learner has moved to, before COURSE_VERSION_CHANGED arrives."""
    Enrollment.change_version(session, user_id, course_id, course_version)


# The handlers named on_… are called by rebuilds.


def on_lesson_completed(session: Session, *, event: LessonCompleted, event_version: int | None = None) -> None:
    """Store the number of completed lessons."""
    Enrollment.update_progress(session, [(event, event_version)])


def on_version_changed(session: Session, *, event: CourseVersionChanged, event_version: int | None = None) -> None:
    """Store the version that a learner has moved to."""
    Enrollment.update_progress(session, [(event, event_version)])


def on_lesson_reopened(session: Session, *, event: LessonReopened, event_version: int | None = None) -> None:
    """Update the number of completed lessons after a lesson was reopened."""
    Enrollment.update_progress(session, [(event, event_version)])


projection(
    "courses.completion_counts",
    clear_rows=Enrollment.clear_progress,
    handlers=[on_lesson_completed, on_lesson_reopened, on_version_changed],
)


@task
def show_lesson(
    session: Session, *, course_id: UUID, lesson_id: UUID, caller: Caller | None, defer_locks: bool = False
) -> dict[str, Any]:
    """Return a lesson with its contents, and the version that it belongs to: {"version", "view"}.

    The author gets the working copy, learners the lesson of their version; a free preview needs no enrollment or token.
    With ``defer_locks``, ``check_locks`` in the reply says that the sender must ask the progress service.
    Raises NotFound, TokenMissing, NotEnrolled; without ``defer_locks`` also PrerequisiteMissing, LessonLocked,
    LessonNotOpen.
    """
    course = Course.get(session, str(course_id))
    if caller and course.may_be_changed_by(caller):
        return {
            "version": course.version,
            "view": with_links(session, Lesson.get(session, course_id, lesson_id).to_dict()),
        }
    enrollment = Enrollment.find(session, caller.user_id, course_id) if caller else None
    version = enrollment.course_version if enrollment else None
    published = PublishedLesson.get_latest(session, course_id, lesson_id, preferred_version=version)
    deferred: dict[str, bool] = {}
    if not published.is_preview_of(course):
        if caller is None:
            raise TokenMissing
        enrollment = require_access(enrollment, course_id)
        if defer_locks:
            deferred = {"check_locks": _may_be_locked(session, enrollment, published)}
        else:
            require_open(session, enrollment, published)
    view = with_links(session, without_answers(published.lesson))
    return {"version": published.course_version, "view": view, **deferred}


def require_access(enrollment: Enrollment | None, course_id: UUID) -> Enrollment:
    """Return the enrollment if it gives access now. Raises NotEnrolled."""
    if enrollment is None or not enrollment.has_access(utc_now()):
        raise NotEnrolled(str(course_id))
    return enrollment


def _may_be_locked(session: Session, enrollment: Enrollment, published: PublishedLesson) -> bool:
    """Return whether the progress service must decide about the lesson.

    It alone knows the completed lessons, and the version after a learner has moved to another one. A lesson of a
    version without rules is always open.
    """
    if enrollment.course_version != published.course_version or published.lesson["unlock"]:
        return True
    rules = session.execute(
        select(CourseVersion.sequential, CourseVersion.prerequisites).where(
            CourseVersion.course_id == published.course_id, CourseVersion.course_version == published.course_version
        )
    ).one()
    return rules.sequential or bool(rules.prerequisites)


def require_open(session: Session, enrollment: Enrollment, published: PublishedLesson) -> None:
    """Check the locks of a lesson by the number of completed lessons, which arrives by events and may be outdated.

    For senders of version 0.1, which do not ask the progress service. Raises PrerequisiteMissing, LessonLocked,
    LessonNotOpen.
    """
    version = session.get_one(CourseVersion, (published.course_id, published.course_version))
    for missing in Enrollment.filter_incomplete(session, enrollment.user_id, _required_now(session, version)):
        raise PrerequisiteMissing(str(missing))
    if version.sequential and (first := enrollment.blocking_lesson(published.lesson["id"], version.lesson_ids())):
        raise LessonLocked(first)
    opens = opens_at(published.lesson["unlock"], enrolled_at=enrollment.enrolled_at)
    if utc_now() < opens:
        raise LessonNotOpen(opens.isoformat())


def _required_now(session: Session, version: CourseVersion) -> list[UUID]:
    """Return the prerequisites of a version that its author still requires and that can be completed at present."""
    if not version.prerequisites:
        return []
    latest = CourseVersion.get_latest(session, version.course_id)
    wanted = [each for each in version.prerequisites if each in latest.prerequisites]
    on_sale = set(Course.filter_on_sale(session, wanted))
    return [each for each in wanted if each in on_sale]
