"""Enrollment, lessons and quizzes for learners. Access depends on grants alone."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from models.base import now
from models.courses.course import Caller, Course
from models.courses.enrollments import Enrollment, EnrollmentPosition
from models.courses.outline import Lesson, learners_view, opens_at
from models.courses.quizzes import Attempt
from models.courses.versions import CourseVersion, PublishedLesson
from models.errors import LessonLocked, LessonNotOpen, NotEnrolled, PaymentRequired, PrerequisiteMissing, TokenMissing
from models.events import LessonCompleted, LessonReopened
from models.outbox import record
from workers import projection, task

from .access import let_in


@task
def enroll(session: Session, *, user_id: UUID, course_id: UUID) -> dict[str, Any]:
    """Enroll a user in a free course and return the enrollment, also if it exists already.

    Raises NotFound if the course is not on sale, PaymentRequired if it is not free.
    """
    course, version = CourseVersion.on_sale(session, str(course_id))
    if course.price_minor:
        raise PaymentRequired(str(course_id))
    enrollment = let_in(
        session,
        user_id=user_id,
        course_id=course_id,
        course_title=version.title,
        source="free",
        source_id=str(course_id),
    )
    return enrollment.view(at=now())


@task
def enroll_other(session: Session, *, user_id: UUID, course_id: UUID, granted_by: UUID) -> dict[str, Any]:
    """Enroll a user on behalf of an admin, at any price. Raises NotFound if the course was never published."""
    version = CourseVersion.latest(session, course_id)
    enrollment = let_in(
        session,
        user_id=user_id,
        course_id=course_id,
        course_title=version.title,
        source="manual",
        source_id=str(granted_by),
    )
    return enrollment.view(at=now())


@task
def list_enrollments(
    session: Session, *, user_id: UUID, after: EnrollmentPosition | None, limit: int
) -> dict[str, Any]:
    """Return a page of a user's enrollments, the newest first: {"items", "next"}."""
    at = now()
    enrollments, following = Enrollment.page(session, user_id, after, limit)
    return {"items": [enrollment.view(at=at) for enrollment in enrollments], "next": following}


@task
def show_access(session: Session, *, user_id: UUID, course_id: UUID) -> dict[str, Any]:
    """Return whether a user has access to a course, and the grants that give it. Raises NotFound."""
    if enrollment := Enrollment.find(session, user_id, course_id):
        return enrollment.access_view(at=now())
    CourseVersion.latest(session, course_id)
    return {"access": False, "grants": [], "reason": "not_enrolled"}


@task
def count_completion(session: Session, *, event: LessonCompleted, event_version: int | None = None) -> None:
    """Store the number of completed lessons, which lists of enrollments show."""
    enrollment = Enrollment.find(session, event.user_id, event.course_id, lock=True)
    if enrollment:  # None only after an erasure: progress starts after ENROLLMENT_CREATED
        enrollment.count(event, version=event_version)


@task
def count_reopening(session: Session, *, event: LessonReopened, event_version: int | None = None) -> None:
    """Update the number of completed lessons after a lesson was reopened."""
    enrollment = Enrollment.find(session, event.user_id, event.course_id, lock=True)
    if enrollment:
        enrollment.count(event, version=event_version)


projection("courses.completion_counts", forget=Enrollment.forget_counts, folds=[count_completion, count_reopening])


@task
def show_lesson(session: Session, *, course_id: UUID, lesson_id: UUID, caller: Caller | None) -> dict[str, Any]:
    """Return a lesson with its contents and the version of the course that it belongs to: {"version", "view"}.

    The author gets the working copy, learners the published lesson; a free preview needs no enrollment or token.
    Raises NotFound, TokenMissing, NotEnrolled, PrerequisiteMissing, LessonLocked, LessonNotOpen.
    """
    course = Course.find(session, str(course_id))
    if caller and course.may_be_changed_by(caller):
        return {"version": course.version, "view": Lesson.find(session, course_id, lesson_id).view()}
    published = PublishedLesson.latest(session, course_id, lesson_id)
    if not published.is_preview_of(course):
        if caller is None:
            raise TokenMissing
        _admitted(session, Enrollment.find(session, caller.user_id, course_id), published)
    return {"version": published.course_version, "view": learners_view(published.lesson)}


@task
def attempt_quiz(
    session: Session, *, user_id: UUID, course_id: UUID, lesson_id: UUID, answers: dict[str, list[str]]
) -> dict[str, Any]:
    """Grade a learner's answers to a quiz. A passed quiz completes a lesson whose completion rule is min_score.

    Raises NotFound, NotEnrolled, PrerequisiteMissing, LessonLocked, LessonNotOpen, NotAQuiz, AnswersUnfit.
    """
    published = PublishedLesson.latest(session, course_id, lesson_id)
    enrollment = Enrollment.find(session, user_id, course_id, lock=True)
    enrollment = _admitted(session, enrollment, published)
    attempt = Attempt.of(session, published.lesson, user_id=user_id, course_id=course_id, answers=answers, at=now())
    record(session, enrollment, attempt.told())
    return attempt.view()


def _admitted(session: Session, enrollment: Enrollment | None, published: PublishedLesson) -> Enrollment:
    """Return the enrollment if the learner may take this lesson now.

    Raises NotEnrolled, PrerequisiteMissing, LessonLocked, LessonNotOpen.
    """
    if enrollment is None or not enrollment.has_access(now()):
        raise NotEnrolled(str(published.course_id))
    version = session.get_one(CourseVersion, (published.course_id, published.course_version))
    for missing in Enrollment.unfinished(session, enrollment.user_id, _required_now(session, version)):
        raise PrerequisiteMissing(str(missing))
    if version.sequential and (first := enrollment.lesson_before(published.lesson["id"], version.lesson_ids())):
        raise LessonLocked(first)
    opens = opens_at(published.lesson["unlock"], enrolled_at=enrollment.enrolled_at)
    if now() < opens:
        raise LessonNotOpen(opens.isoformat())
    return enrollment


def _required_now(session: Session, version: CourseVersion) -> list[UUID]:
    """Return the prerequisites of a version that its author still requires and that can be completed at present."""
    if not version.prerequisites:
        return []
    latest = CourseVersion.latest(session, version.course_id)
    wanted = [each for each in version.prerequisites if each in latest.prerequisites]
    on_sale = set(Course.on_sale_among(session, wanted))
    return [each for each in wanted if each in on_sale]
