"""The learners of a course with their progress, for its author and for staff."""

from typing import Any
from uuid import UUID

import marshmallow as ma
import msgspec
from flask.views import MethodView

from api.auth import current_caller, require_auth
from api.courses.blueprint import course_caller, require_own_course
from api.courses.schemas import EnrollmentSchema
from api.pagination import Page, PageQuery, page_response, page_schema
from api.rpc import call, call_without_idempotency_key
from models.commands import ListLearners, ListNames
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
