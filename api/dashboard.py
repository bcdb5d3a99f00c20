"""The dashboard: the data of a front end's start page in one response."""

from typing import Any

import marshmallow as ma
import msgspec
from flask.views import MethodView

from .auth import me, requires
from .blueprints import Blueprint
from .courses.schemas import EnrollmentSchema
from .fanout import Question, gather
from .payments.subscriptions import PlanSubscriptionSchema
from .progress import CourseProgressSchema
from .schemas import Schema
from .users import ProfileSchema

blp = Blueprint("dashboard", __name__, url_prefix="/v1", description="What a front end shows first.")

_WITHIN_SECONDS = 2  # then a partial response: better than a late complete one
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
        metadata={"description": "The parts that could not be had."},
    )


@blp.route("/me/dashboard")
class Dashboard(MethodView):
    @requires()
    @blp.response(200, DashboardSchema)
    def get(self) -> Any:
        """Retrieve the dashboard

        Returns the caller's profile, latest courses with progress, unread notification count and subscriptions.
        """
        caller = me()
        latest = {"user_id": caller.id, "after": None, "limit": _COURSES}
        identity = {"user_id": caller.id, "email": caller.email, "name": caller.name}
        told, failed = gather(
            {
                "profile": Question("users.show_profile", identity),
                "enrollments": Question("courses.list_enrollments", latest, _Items),
                "progress": Question("progress.list_progress", latest, _Items),
                "unread_count": Question("notifications.count_unread", {"user_id": caller.id}, _Unread),
                "subscriptions": Question("payments.list_subscriptions", latest, _Items),
            },
            within_seconds=_WITHIN_SECONDS,
        )
        if not told:
            raise next(iter(failed.values()))
        return {
            "profile": told.get("profile"),
            "enrollments": _with_progress(told["enrollments"], told.get("progress")) if "enrollments" in told else None,
            "unread_count": told["unread_count"].unread if "unread_count" in told else None,
            "subscriptions": told["subscriptions"].items if "subscriptions" in told else None,
            "partial": sorted(failed),
        }


def _with_progress(enrollments: _Items, progress: _Items | None) -> list[dict[str, Any]]:
    by_course = {each.get("course_id"): each for each in progress.items} if progress else {}
    return [{**each, "progress": by_course.get(each.get("course_id"))} for each in enrollments.items]
