"""Enrollments, access to courses and quiz attempts."""

from datetime import datetime
from typing import Any
from uuid import UUID

from flask.views import MethodView

from api.auth import current_caller, require_auth
from api.learner_access import call_as_learner, call_with_access, require_no_purchase
from api.pagination import Page, PageQuery, page_response, page_schema
from api.read_cache import invalidate_pages
from api.rpc import call, call_without_idempotency_key
from api.users import get_profile
from core.cache import progress_version_key
from core.log import get_logger
from models.commands import (
    AttemptQuiz,
    CompletePassedQuiz,
    Enroll,
    EnrollUserAsAdmin,
    ListEnrollments,
    ListQuizAttempts,
    ShowAccess,
)
from models.errors import InsufficientPermission, NotEnrolled, OutcomeUnknown, Unavailable

from .blueprint import blp, require_lesson_access, show_lesson
from .schemas import (
    AccessSchema,
    AnswersSchema,
    EnrollmentSchema,
    EnrollSchema,
    OwnQuizAttemptSchema,
    QuizAttemptSchema,
)

EnrollmentPage = page_schema(EnrollmentSchema)
OwnQuizAttemptPage = page_schema(OwnQuizAttemptSchema)
log = get_logger(__name__)


@blp.route("/courses/<uuid:course_id>/enrollments")
class Enrollments(MethodView):
    @require_auth()
    @blp.arguments(EnrollSchema, required=False)
    @blp.doc(operationId="createEnrollment")
    @blp.response(201, EnrollmentSchema)
    def post(self, fields: dict[str, Any], course_id: UUID) -> Any:
        """Create an enrollment

        Enrolls the caller in a free course. With `courses:admin`, enrolls another user in any course. Idempotent.
        """
        if "user_id" not in fields:
            enrollment = call(Enroll(user_id=current_caller().id, course_id=course_id))
            invalidate_pages(progress_version_key(current_caller().id))
            return enrollment
        if "courses:admin" not in current_caller().permissions:
            raise InsufficientPermission("courses:admin")
        # Raises NotFound. Other services learn of users by events only, so an unknown id would never become known.
        get_profile(fields["user_id"])
        return call(EnrollUserAsAdmin(user_id=fields["user_id"], course_id=course_id, granted_by=current_caller().id))


@blp.route("/courses/<uuid:course_id>/lessons/<uuid:lesson_id>/attempts")
class QuizAttempts(MethodView):
    @require_auth()
    @require_lesson_access
    @blp.arguments(PageQuery, location="query")
    @blp.doc(operationId="listOwnQuizAttempts")
    @blp.response(200, OwnQuizAttemptPage)
    def get(self, query: dict[str, Any], course_id: UUID, lesson_id: UUID) -> Page:
        """List the caller's attempts at a quiz

        Newest first, with the selected options but not the correct ones.
        """
        show_lesson(course_id, lesson_id, current_caller())
        return page_response(call(ListQuizAttempts(user_id=current_caller().id, lesson_id=lesson_id, **query)))

    @require_auth()
    @require_lesson_access
    @blp.arguments(AnswersSchema)
    @blp.doc(operationId="submitQuizAttempt")
    @blp.response(201, QuizAttemptSchema)
    def post(self, attempt: dict[str, Any], course_id: UUID, lesson_id: UUID) -> Any:
        """Submit a quiz attempt

        The attempt is graded at once. A passing score completes a lesson whose completion rule is `min_score`.
        """
        user_id = current_caller().id
        show_lesson(course_id, lesson_id, current_caller())
        command = AttemptQuiz(
            user_id=user_id, course_id=course_id, lesson_id=lesson_id, answers=attempt["answers"], locks_checked=True
        )
        graded = call_with_access(command, user_id=user_id, course_id=course_id)
        if graded["passed"]:
            _complete_lesson(graded, course_id, lesson_id)
        invalidate_pages(progress_version_key(user_id))
        return graded


def _complete_lesson(graded: dict[str, Any], course_id: UUID, lesson_id: UUID) -> None:
    """Complete the lesson of a passed quiz before the response, so that the next lesson is open at once.

    If the progress service does not respond, QUIZ_ATTEMPTED completes the lesson later.
    """
    user_id = current_caller().id
    command = CompletePassedQuiz(
        user_id=user_id,
        course_id=course_id,
        lesson_id=lesson_id,
        attempt=graded["attempt"],
        attempted_at=datetime.fromisoformat(graded["attempted_at"]),
    )
    try:
        call_as_learner(command, user_id=user_id, course_id=course_id, send=call_without_idempotency_key)
    except (NotEnrolled, Unavailable, OutcomeUnknown) as error:
        log.info("quiz is completed by its event", reason=str(error))


@blp.route("/me/enrollments")
class OwnEnrollments(MethodView):
    @require_auth()
    @blp.arguments(PageQuery, location="query")
    @blp.doc(operationId="listOwnEnrollments")
    @blp.response(200, EnrollmentPage)
    def get(self, query: dict[str, Any]) -> Page:
        """List the caller's enrollments

        Newest first.
        """
        return page_response(call(ListEnrollments(user_id=current_caller().id, **query)))


@blp.route("/me/courses/<uuid:course_id>/access")
class Access(MethodView):
    @require_auth()
    @blp.doc(operationId="getOwnAccess")
    @blp.response(200, AccessSchema)
    def get(self, course_id: UUID) -> Any:
        """Check the caller's access to a course

        Returns whether the caller has access, and the grants that it rests on.
        """
        access = call(ShowAccess(user_id=current_caller().id, course_id=course_id))
        if not access["access"]:
            require_no_purchase(current_caller().id, course_id)
        return access
