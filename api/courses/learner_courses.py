"""The courses of a learner: the list, and one course with everything that its page shows."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask.views import MethodView

from api.auth import current_caller, require_auth
from api.fanout import Call, gather
from api.learner_access import call_as_learner, require_no_purchase, start_if_enrolled
from api.pagination import Page, PageQuery, page_response, page_schema
from api.progress.learning import CourseProgressSchema
from api.read_cache import cached_page_view, limit_page
from api.rpc import call, call_without_idempotency_key
from api.schemas import Schema, Timestamp
from core.cache import progress_version_key
from models.commands import (
    ChangeEnrolledVersion,
    ListCourseProgress,
    ListLearnerCourses,
    ShowLearnerCourse,
    ShowLearnerProgress,
    UpgradeCourse,
)
from models.errors import NotEnrolled

from .blueprint import blp
from .schemas import LEVELS, OutlineLessonSchema

_TIMEOUT_SECONDS = 4.0
_LOCK_REASONS = ["previous_lesson", "prerequisite", "not_open"]


class LearnerAccessSchema(Schema):
    enrolled_at = Timestamp()
    ends_at = Timestamp(allow_none=True, metadata={"description": "When access ends; null if it has no end."})


class LearnerCertificateSchema(Schema):
    code = ma.fields.Str()
    issued_at = Timestamp()


class LearnerScheduleSchema(Schema):
    """Why lessons open for this learner at other times than for others."""

    shift_days = ma.fields.Int(metadata={"description": "By how many days lessons open later; negative: earlier."})
    reason = ma.fields.Str()
    changed_at = Timestamp()


class LearnerLessonSchema(OutlineLessonSchema):
    """A lesson of the learner's version, with the learner's state in it."""

    completed_at = Timestamp(allow_none=True)
    position_seconds = ma.fields.Int(metadata={"description": "Where playback stopped; 0 if it never began."})
    furthest_seconds = ma.fields.Int()
    score_percent = ma.fields.Int(allow_none=True, metadata={"description": "The learner's best score in a quiz."})
    locked = ma.fields.Bool()
    locked_reason = ma.fields.Str(allow_none=True, validate=ma.validate.OneOf(_LOCK_REASONS))
    locked_by = ma.fields.UUID(
        allow_none=True, metadata={"description": "The lesson, or for `prerequisite` the course, to complete first."}
    )
    opens_at = Timestamp(
        allow_none=True, metadata={"description": "When the lesson opens, or has opened, by its date."}
    )


class LearnerSectionSchema(Schema):
    id = ma.fields.UUID()
    title = ma.fields.Str()
    position = ma.fields.Int()
    lessons = ma.fields.List(ma.fields.Nested(LearnerLessonSchema))


class LearnerCourseItemSchema(Schema):
    """A course in the list of a learner's courses."""

    course_id = ma.fields.UUID()
    slug = ma.fields.Str()
    title = ma.fields.Str()
    summary = ma.fields.Str()
    cover_url = ma.fields.Str(allow_none=True, metadata={"format": "uri"})
    on_sale = ma.fields.Bool()
    course_version = ma.fields.Int(metadata={"description": "The published version that the learner takes."})
    latest_version = ma.fields.Int(metadata={"description": "The newest published version."})
    lessons_total = ma.fields.Int()
    duration_seconds = ma.fields.Int()
    status = ma.fields.Str(validate=ma.validate.OneOf(["active", "ended"]))
    access = ma.fields.Nested(LearnerAccessSchema)
    progress = ma.fields.Nested(
        CourseProgressSchema,
        allow_none=True,
        metadata={"description": "Null after access has ended, and for moments after an enrollment."},
    )


class LearnerCourseSchema(Schema):
    """A learner's course: the outline of their version, the state of each lesson, progress and access."""

    course_id = ma.fields.UUID()
    slug = ma.fields.Str()
    title = ma.fields.Str()
    summary = ma.fields.Str()
    description = ma.fields.Str()
    category = ma.fields.Str()
    level = ma.fields.Str(validate=ma.validate.OneOf(LEVELS))
    language = ma.fields.Str()
    tags = ma.fields.List(ma.fields.Str())
    cover_url = ma.fields.Str(allow_none=True, metadata={"format": "uri"})
    instructor_id = ma.fields.UUID()
    on_sale = ma.fields.Bool()
    course_version = ma.fields.Int(metadata={"description": "The published version that the learner takes."})
    latest_version = ma.fields.Int(metadata={"description": "The newest published version."})
    sequential = ma.fields.Bool()
    prerequisites = ma.fields.List(ma.fields.UUID())
    lessons_total = ma.fields.Int()
    duration_seconds = ma.fields.Int()
    access = ma.fields.Nested(LearnerAccessSchema)
    progress = ma.fields.Nested(CourseProgressSchema)
    certificate = ma.fields.Nested(LearnerCertificateSchema, allow_none=True)
    schedule = ma.fields.Nested(
        LearnerScheduleSchema, allow_none=True, metadata={"description": "Null: that of the course."}
    )
    sections = ma.fields.List(ma.fields.Nested(LearnerSectionSchema))


def _version_key() -> str:
    return progress_version_key(current_caller().id)


@blp.route("/me/courses")
class LearnerCourses(MethodView):
    @require_auth()
    @cached_page_view(_version_key)
    @blp.arguments(PageQuery, location="query")
    @blp.doc(operationId="listOwnCourses")
    @blp.response(200, page_schema(LearnerCourseItemSchema))
    def get(self, query: dict[str, Any]) -> Page:
        """List the courses that the caller is enrolled in

        With titles, covers and progress, on sale or not; the latest enrollment first.
        """
        user_id = current_caller().id
        found = call(ListLearnerCourses(user_id=user_id, **query))
        limit_page(item["access"]["ends_at"] for item in found["items"])
        course_ids = [UUID(item["course_id"]) for item in found["items"] if item["status"] == "active"]
        progress = call(ListCourseProgress(user_id=user_id, course_ids=course_ids))["items"] if course_ids else []
        by_course = {each["course_id"]: each for each in progress}
        items = [_list_item(item, by_course.get(item["course_id"])) for item in found["items"]]
        return page_response({"items": items, "next": found["next"]})


@blp.route("/me/courses/<uuid:course_id>")
class LearnerCourse(MethodView):
    @require_auth()
    @cached_page_view(_version_key)
    @blp.doc(operationId="getOwnCourse")
    @blp.response(200, LearnerCourseSchema)
    def get(self, course_id: UUID) -> Any:
        """Retrieve a course that the caller is enrolled in

        The learner's page in one response: the outline of their version, the state of each lesson, progress,
        certificate and access. Available as long as the caller has access, on sale or not.
        """
        user_id = current_caller().id
        course, progress = _fetch(user_id, course_id)
        limit_page([course["access"]["ends_at"]])
        if course["course_version"] != progress["course_version"]:
            # The progress service has moved the learner, and the courses service has not learned of it yet.
            newer = {"course_version": progress["course_version"]}
            course = call(ShowLearnerCourse(user_id=user_id, course_id=course_id, **newer))
        return {
            **course,
            "progress": progress["progress"],
            "certificate": progress["certificate"],
            "schedule": progress.get("schedule"),  # workers of an earlier version do not send it
            "sections": [
                {**section, "lessons": [_lesson(each, course["scores"], progress) for each in section["lessons"]]}
                for section in course["sections"]
            ],
        }


@blp.route("/me/courses/<uuid:course_id>/upgrade")
class LearnerCourseUpgrade(MethodView):
    @require_auth()
    @blp.doc(operationId="upgradeOwnCourse")
    @blp.response(200, CourseProgressSchema)
    def post(self, course_id: UUID) -> Any:
        """Take the newest version of a course

        Completed lessons that it has still count, and a finished course stays finished. Idempotent.
        """
        user_id = current_caller().id
        shown = call_without_idempotency_key(ShowLearnerCourse(user_id=user_id, course_id=course_id))
        newest = {"user_id": user_id, "course_id": course_id, "course_version": shown["latest_version"]}
        progress = call_as_learner(UpgradeCourse(**newest), user_id=user_id, course_id=course_id)
        call_without_idempotency_key(ChangeEnrolledVersion(**newest))
        return progress


def _fetch(user_id: UUID, course_id: UUID) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the course and the progress of a learner, fetched at once.

    Raises NotEnrolled, NotFound; ProjectionNotReady if the access has not arrived in both services.
    """
    calls = {
        "course": Call(ShowLearnerCourse(user_id=user_id, course_id=course_id)),
        "progress": Call(ShowLearnerProgress(user_id=user_id, course_id=course_id)),
    }
    found, failures = gather(calls, timeout_seconds=_TIMEOUT_SECONDS)
    if refusal := failures.get("course"):
        if isinstance(refusal, NotEnrolled):
            require_no_purchase(user_id, course_id)
        raise refusal
    if failure := failures.get("progress"):
        if not isinstance(failure, NotEnrolled) or not start_if_enrolled(user_id, course_id):
            raise failure
        found["progress"] = call(ShowLearnerProgress(user_id=user_id, course_id=course_id))
    return found["course"], found["progress"]


def _list_item(item: dict[str, Any], progress: dict[str, Any] | None) -> dict[str, Any]:
    return {**item, "progress": progress}


def _lesson(lesson: dict[str, Any], scores: Mapping[str, int], progress: dict[str, Any]) -> dict[str, Any]:
    return {**lesson, **progress["lessons"].get(lesson["id"], {}), "score_percent": scores.get(lesson["id"])}
