"""Enrollments, and access to courses."""

from typing import Any
from uuid import UUID

from flask.views import MethodView

from api.auth import current_caller, require_auth
from api.learner_access import require_no_purchase
from api.pagination import Page, PageQuery, page_response, page_schema
from api.read_cache import invalidate_pages
from api.rpc import call
from api.users.profiles import get_profile
from core.cache import progress_version_key
from models.commands import (
    Enroll,
    EnrollUserAsAdmin,
    LeaveCourse,
    ListEnrollments,
    ShowAccess,
)
from models.errors import InsufficientPermission

from .blueprint import blp
from .schemas import AccessSchema, EnrollmentSchema, EnrollSchema

EnrollmentPage = page_schema(EnrollmentSchema)


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


@blp.route("/me/courses/<uuid:course_id>/leave")
class Leave(MethodView):
    @require_auth()
    @blp.doc(operationId="leaveCourse")
    @blp.response(204)
    def post(self, course_id: UUID) -> None:
        """Leave a course

        Ends access that was not bought. Progress and certificates stay, and a free course can be joined again. What was
        bought is a 409 `access_purchased`. Idempotent.
        """
        call(LeaveCourse(user_id=current_caller().id, course_id=course_id))
        invalidate_pages(progress_version_key(current_caller().id))


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
