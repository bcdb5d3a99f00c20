"""The dashboard: the data of a front end's start page in one response."""

from typing import Any

import marshmallow as ma
import msgspec
from flask.views import MethodView

from models.commands import CountUnread, ListEnrollments, ListProgress, ListSubscriptions, ShowProfile

from .auth import current_caller, require_auth
from .blueprints import Blueprint
from .courses.schemas import EnrollmentSchema
from .fanout import Call, gather
from .payments.subscriptions import PlanSubscriptionSchema
from .progress.learning import CourseProgressSchema
from .schemas import Schema
from .users.profiles import ProfileSchema

blp = Blueprint("dashboard", __name__, url_prefix="/v1", description="The data of a front end's start page.")

_TIMEOUT_SECONDS = 2  # then a partial response: better than a late complete one
_COURSES = 50  # the latest ones; GET /v1/me/enrollments lists all
_PARTS = ["profile", "enrollments", "progress", "unread_count", "subscriptions"]


class _Items(msgspec.Struct):
    items: list[dict[str, Any]]


class _Unread(msgspec.Struct):
    unread: int


class EnrolledCourseSchema(EnrollmentSchema):
    progress = ma.fields.Nested(CourseProgressSchema, allow_none=True)


class DashboardSchema(Schema):
    """The dashboard; a part that is not available in time is null and listed in ``partial``."""

    profile = ma.fields.Nested(ProfileSchema, allow_none=True)
    enrollments = ma.fields.List(ma.fields.Nested(EnrolledCourseSchema), allow_none=True)
    unread_count = ma.fields.Int(allow_none=True)
    subscriptions = ma.fields.List(ma.fields.Nested(PlanSubscriptionSchema), allow_none=True)
    partial = ma.fields.List(  # type: ignore[assignment]  # an option of schemas has this name, and is not used
        ma.fields.Str(validate=ma.validate.OneOf(_PARTS)),
        metadata={"description": "The parts that were not available in time."},
    )


@blp.route("/me/dashboard")
class Dashboard(MethodView):
    @require_auth()
    @blp.doc(operationId="getDashboard")
    @blp.response(200, DashboardSchema)
    def get(self) -> Any:
        """Retrieve the dashboard

        Returns the caller's profile, latest courses with progress, unread notification count and subscriptions.
        """
        caller = current_caller()
        latest: dict[str, Any] = {"user_id": caller.id, "after": None, "limit": _COURSES}
        results, failures = gather(
            {
                "profile": Call(ShowProfile(user_id=caller.id, email=caller.email, name=caller.name)),
                "enrollments": Call(ListEnrollments(**latest), _Items),
                "progress": Call(ListProgress(**latest), _Items),
                "unread_count": Call(CountUnread(user_id=caller.id), _Unread),
                "subscriptions": Call(ListSubscriptions(**latest), _Items),
            },
            timeout_seconds=_TIMEOUT_SECONDS,
        )
        if not results:
            raise next(iter(failures.values()))
        return {
            "profile": results.get("profile"),
            "enrollments": _with_progress(results["enrollments"], results.get("progress"))
            if "enrollments" in results
            else None,
            "unread_count": results["unread_count"].unread if "unread_count" in results else None,
            "subscriptions": results["subscriptions"].items if "subscriptions" in results else None,
            "partial": sorted(failures),
        }


def _with_progress(enrollments: _Items, progress: _Items | None) -> list[dict[str, Any]]:
    by_course = {each.get("course_id"): each for each in progress.items} if progress else {}
    return [{**each, "progress": by_course.get(each.get("course_id"))} for each in enrollments.items]
