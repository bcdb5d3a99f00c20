"""The schedule of one learner: staff and instructors open lessons at other times than those of the course."""

from typing import Any
from uuid import UUID

import marshmallow as ma
import msgspec
from flask import Response
from flask.views import MethodView

from api.auth import require_auth
from api.conditional_requests import if_match, versioned_response
from api.rpc import call
from api.schemas import Line, Schema, Timestamp, UtcDateTime, unique_items
from models.commands import RemoveSchedule, ReplaceSchedule, ScheduleFields, ShowSchedule

from .blueprint import blp, get_taught_course, require_own_course

_SHIFT_MAX_DAYS = 3650
_LESSONS_MAX = 1000  # as many as a course has


class ScheduledLessonFieldsSchema(Schema):
    lesson_id = ma.fields.UUID(required=True)
    opens_at = UtcDateTime(required=True, metadata={"description": "A time in the past opens the lesson now."})


class ScheduleFieldsSchema(Schema):
    shift_days = ma.fields.Int(
        load_default=0,
        strict=True,
        validate=ma.validate.Range(-_SHIFT_MAX_DAYS, _SHIFT_MAX_DAYS),
        metadata={"description": "Lessons with a time open this many days later; negative: earlier."},
    )
    lessons = ma.fields.List(
        ma.fields.Nested(ScheduledLessonFieldsSchema), load_default=list, validate=ma.validate.Length(max=_LESSONS_MAX)
    )
    reason = Line(required=True, metadata={"description": "The learner sees it."})

    @ma.validates("lessons")
    def _validate_lessons(self, lessons: list[dict[str, Any]], **_: Any) -> None:
        unique_items([lesson["lesson_id"] for lesson in lessons])


class ScheduledLessonSchema(Schema):
    lesson_id = ma.fields.UUID()
    opens_at = Timestamp()


class ScheduleSchema(Schema):
    """What a learner's schedule has beside that of the course."""

    version = ma.fields.Int()
    shift_days = ma.fields.Int()
    lessons = ma.fields.List(
        ma.fields.Nested(ScheduledLessonSchema), metadata={"description": "Lessons with a time of their own."}
    )
    reason = ma.fields.Str(allow_none=True)
    changed_at = Timestamp(allow_none=True, metadata={"description": "Null: the schedule of the course applies."})


@blp.route("/courses/<uuid:course_id>/learners/<uuid:user_id>/schedule")
class LearnerSchedule(MethodView):
    @require_auth("courses:write", reads_personal_data=True)
    @blp.doc(operationId="getLearnerSchedule")
    @blp.response(200, ScheduleSchema)
    def get(self, course_id: UUID, user_id: UUID) -> Response:
        """Retrieve the schedule of a learner

        For the instructors of the course and, with `courses:admin`, of any course.
        """
        get_taught_course(course_id)
        return versioned_response(call(ShowSchedule(user_id=user_id, course_id=course_id)))

    @require_auth("courses:write")
    @require_own_course
    @if_match
    @blp.arguments(ScheduleFieldsSchema)
    @blp.doc(operationId="replaceLearnerSchedule")
    @blp.response(200, ScheduleSchema)
    def put(self, fields: dict[str, Any], course_id: UUID, user_id: UUID, *, expected_version: int) -> Response:
        """Replace the schedule of a learner

        Opens lessons for one learner at times of their own, or all lessons with a time earlier or later. Takes effect
        at once and is recorded in the audit; the learner sees the reason. Completed lessons stay completed.
        """
        get_taught_course(course_id)
        schedule = msgspec.convert(fields, ScheduleFields)
        command = ReplaceSchedule(
            user_id=user_id, course_id=course_id, expected_version=expected_version, schedule=schedule
        )
        return versioned_response(call(command))

    @require_auth("courses:write")
    @require_own_course
    @if_match
    @blp.doc(operationId="removeLearnerSchedule")
    @blp.response(204)
    def delete(self, course_id: UUID, user_id: UUID, *, expected_version: int) -> None:
        """Remove the schedule of a learner

        Lessons open by the schedule of the course again.
        """
        get_taught_course(course_id)
        call(RemoveSchedule(user_id=user_id, course_id=course_id, expected_version=expected_version))
