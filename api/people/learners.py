"""The learners of a course with their progress, for its author and for staff."""

from typing import Any
from uuid import UUID

import marshmallow as ma
import msgspec
from flask import Response
from flask.views import MethodView

from api.auth import current_caller, require_auth
from api.conditional_requests import if_match, versioned_response
from api.courses.blueprint import course_caller, require_own_course
from api.courses.schemas import EnrollmentSchema, GrantSchema
from api.pagination import Page, PageQuery, page_response, page_schema
from api.read_cache import invalidate_pages
from api.rpc import call, call_without_idempotency_key
from api.schemas import Schema, UtcDateTime
from core.cache import progress_version_key
from models.commands import ChangeAccessEnd, ListLearners, ListNames, ShowCourseLearner
from models.commands.courses import LearnerFilters

from .blueprint import blp

_PERCENT = ma.validate.Range(min=0, max=100)


class LearnerQuery(PageQuery):
    status = ma.fields.Str(load_default=None, validate=ma.validate.OneOf(["active", "ended"]))
    progress_min = ma.fields.Int(load_default=None, validate=_PERCENT)
    progress_max = ma.fields.Int(load_default=None, validate=_PERCENT)


class LearnerSchema(EnrollmentSchema):
    user_id = ma.fields.UUID()
    name = ma.fields.Str(allow_none=True)
    email = ma.fields.Str(allow_none=True, metadata={"description": "Only with `users:admin`."})
    lessons_completed = ma.fields.Int()


class LearnerGrantSchema(GrantSchema):
    state = ma.fields.Str(validate=ma.validate.OneOf(["active", "not_started", "expired"]))


class CourseLearnerSchema(EnrollmentSchema):
    """One learner of a course."""

    user_id = ma.fields.UUID()
    lessons_completed = ma.fields.Int()
    version = ma.fields.Int(metadata={"description": "For If-Match."})
    grants = ma.fields.List(ma.fields.Nested(LearnerGrantSchema))


class AccessEndSchema(Schema):
    ends_at = UtcDateTime(
        required=True, allow_none=True, metadata={"description": "In the future; null: access has no end."}
    )


@blp.route("/courses/<uuid:course_id>/learners/<uuid:user_id>")
class CourseLearner(MethodView):
    @require_auth("courses:write", reads_personal_data=True)
    @require_own_course
    @blp.doc(operationId="getCourseLearner")
    @blp.response(200, CourseLearnerSchema)
    def get(self, course_id: UUID, user_id: UUID) -> Response:
        """Retrieve a learner of a course

        With the reasons of the access and when each ends.
        """
        caller = course_caller(current_caller())
        return versioned_response(call(ShowCourseLearner(course_id=course_id, user_id=user_id, caller=caller)))

    @require_auth("courses:write")
    @require_own_course
    @if_match
    @blp.arguments(AccessEndSchema)
    @blp.doc(operationId="changeAccessEnd")
    @blp.response(200, CourseLearnerSchema)
    def patch(self, fields: dict[str, Any], course_id: UUID, user_id: UUID, *, expected_version: int) -> Response:
        """Change when the access of a learner ends

        For the owner of the course and staff. Replaces the end of every reason that has one, also of access that has
        expired: the learner then continues where they stopped. What was sold cannot end earlier. Access without an end
        is not changed (`access_has_no_end`).
        """
        command = ChangeAccessEnd(
            course_id=course_id,
            user_id=user_id,
            caller=course_caller(current_caller()),
            expected_version=expected_version,
            **fields,
        )
        changed = call(command)
        invalidate_pages(progress_version_key(user_id))
        return versioned_response(changed)


@blp.route("/courses/<uuid:course_id>/learners")
class CourseLearners(MethodView):
    @require_auth("courses:write", reads_personal_data=True)
    @require_own_course
    @blp.arguments(LearnerQuery, location="query")
    @blp.doc(operationId="listCourseLearners")
    @blp.response(200, page_schema(LearnerSchema))
    def get(self, query: dict[str, Any], course_id: UUID) -> Page:
        """List the learners of a course

        Latest enrollment first, with progress. For the author of the course and, with `courses:admin`, of any course.
        """
        caller = current_caller()
        limit, filters = query.pop("limit"), msgspec.convert(query, LearnerFilters)
        found = call(ListLearners(course_id=course_id, caller=course_caller(caller), filters=filters, limit=limit))
        user_ids = [UUID(learner["user_id"]) for learner in found["items"]]
        named = {each["id"]: each for each in call_without_idempotency_key(ListNames(user_ids=user_ids))}
        for learner in found["items"]:
            person = named.get(learner["user_id"], {})
            learner["name"] = person.get("name")
            learner["email"] = person.get("email") if "users:admin" in caller.permissions else None
        return page_response(found)
