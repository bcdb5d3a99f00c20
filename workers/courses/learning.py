"""What learners do with a course: enrol, and read its lessons. Grants are the only source of access."""

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
    """Enrol a user in a free course; an enrollment that is there already answers as a new one.

    Raises NotFound where the course is not on sale, PaymentRequired where it is not free.
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
    """Let a user in by an admin's word, whatever the course costs. Raises NotFound where it was never published."""
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
    """A user's enrollments, the newest first."""
    at = now()
    enrollments, following = Enrollment.page(session, user_id, after, limit)
    return {"items": [enrollment.view(at=at) for enrollment in enrollments], "next": following}


@task
def show_access(session: Session, *, user_id: UUID, course_id: UUID) -> dict[str, Any]:
    """Whether a user has access to a course, and why. Raises NotFound."""
    if enrollment := Enrollment.find(session, user_id, course_id):
        return enrollment.access_view(at=now())
    CourseVersion.latest(session, course_id)
    return {"access": False, "grants": [], "reason": "not_enrolled"}


@task
def count_completion(session: Session, *, event: LessonCompleted, event_version: int | None = None) -> None:
    """Store how far a learner is, for lists of enrollments."""
    enrollment = Enrollment.find(session, event.user_id, event.course_id, lock=True)
    if enrollment:  # else its learner has gone: progress begins with ENROLLMENT_CREATED, which this service told
        enrollment.count(event, version=event_version)


@task
def count_reopening(session: Session, *, event: LessonReopened, event_version: int | None = None) -> None:
    """Store that a learner reopened a lesson."""
    enrollment = Enrollment.find(session, event.user_id, event.course_id, lock=True)
    if enrollment:
        enrollment.count(event, version=event_version)


projection("courses.completion_counts", forget=Enrollment.forget_counts, folds=[count_completion, count_reopening])


@task
def show_lesson(session: Session, *, course_id: UUID, lesson_id: UUID, caller: Caller | None) -> dict[str, Any]:
    """A lesson with its contents, and the version that it is of: {"version", "view"}.

    The author sees the working copy; learners, and everybody where it is a free preview, what was published.
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
    """Grade a learner's answers to a quiz. Passing it completes a lesson whose rule is min_score.

    Raises NotFound, NotEnrolled, PrerequisiteMissing, LessonLocked, LessonNotOpen, NotAQuiz, AnswersUnfit.
    """
    published = PublishedLesson.latest(session, course_id, lesson_id)
    enrollment = Enrollment.find(session, user_id, course_id, lock=True)
    enrollment = _admitted(session, enrollment, published)
    attempt = Attempt.of(session, published.lesson, user_id=user_id, course_id=course_id, answers=answers, at=now())
    record(session, enrollment, attempt.told())
    return attempt.view()


def _admitted(session: Session, enrollment: Enrollment | None, published: PublishedLesson) -> Enrollment:
    """The learner's enrollment, where they may learn this lesson now.

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
