"""Enrollments, access to courses and quiz attempts."""

from typing import Any
from uuid import UUID

from flask.views import MethodView

from api.auth import me, requires
from api.pages import Page, PageQuery, page, page_of
from api.queue import ask
from api.users import profile_of
from models.errors import PermissionMissing

from .blueprint import blp, own_lesson
from .schemas import AccessSchema, AnswersSchema, AttemptSchema, EnrollmentSchema, EnrollSchema


@blp.route("/courses/<uuid:course_id>/enrollments")
class Enrollments(MethodView):
    @requires()
    @blp.arguments(EnrollSchema, required=False)
    @blp.response(201, EnrollmentSchema)
    def post(self, fields: dict[str, Any], course_id: UUID) -> Any:
        """Create an enrollment

        Enrolls the caller in a free course. With `courses:admin`, enrolls another user in any course. Idempotent.
        """
        if "user_id" not in fields:
            return ask("courses.enroll", user_id=me().id, course_id=course_id)
        if "courses:admin" not in me().permissions:
            raise PermissionMissing("courses:admin")
        # Raises NotFound. Other services learn of users by events only, so an unknown id would never become known.
        profile_of(fields["user_id"])
        return ask("courses.enroll_other", user_id=fields["user_id"], course_id=course_id, granted_by=me().id)


@blp.route("/courses/<uuid:course_id>/lessons/<uuid:lesson_id>/attempts")
class Attempts(MethodView):
    @requires()
    @own_lesson
    @blp.arguments(AnswersSchema)
    @blp.response(201, AttemptSchema)
    def post(self, attempt: dict[str, Any], course_id: UUID, lesson_id: UUID) -> Any:
        """Submit a quiz attempt

        The attempt is graded at once. A passing score completes a lesson whose completion rule is `min_score`.
        """
        answers = attempt["answers"]
        return ask("courses.attempt_quiz", user_id=me().id, course_id=course_id, lesson_id=lesson_id, answers=answers)


@blp.route("/me/enrollments")
class OwnEnrollments(MethodView):
    @requires()
    @blp.arguments(PageQuery, location="query")
    @blp.response(200, page_of(EnrollmentSchema))
    def get(self, query: dict[str, Any]) -> Page:
        """List the caller's enrollments

        Newest first.
        """
        return page(ask("courses.list_enrollments", user_id=me().id, **query))


@blp.route("/me/courses/<uuid:course_id>/access")
class Access(MethodView):
    @requires()
    @blp.response(200, AccessSchema)
    def get(self, course_id: UUID) -> Any:
        """Check the caller's access to a course

        Returns whether the caller has access, and the grants that it rests on.
        """
        return ask("courses.show_access", user_id=me().id, course_id=course_id)
