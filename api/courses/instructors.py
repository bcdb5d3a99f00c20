"""The instructors of a course, one owner and editors, and their public profiles."""

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response
from flask.views import MethodView

from api.auth import current_caller, public, require_auth
from api.conditional_requests import if_match, versioned_response
from api.read_cache import cached_page_view
from api.rpc import call
from api.schemas import Schema, unique_items
from api.users.profiles import get_profile
from core.cache import CATALOGUE_VERSION_KEY
from models.commands import SetInstructors, ShowInstructor

from .blueprint import blp, course_caller, get_working_copy, require_own_course
from .course import invalidate_and_respond
from .schemas import CourseSchema

_EDITORS_MAX = 20


class InstructorsSchema(Schema):
    owner_id = ma.fields.UUID(metadata={"description": "Who may archive the course and choose its instructors."})
    editor_ids = ma.fields.List(ma.fields.UUID(), metadata={"description": "Who may change and publish the course."})


class InstructorSchema(Schema):
    """What everyone may see of an instructor."""

    id = ma.fields.UUID()
    name = ma.fields.Str(allow_none=True)
    avatar_url = ma.fields.Str(allow_none=True, metadata={"format": "uri"})
    bio = ma.fields.Str(allow_none=True, metadata={"description": "Markdown."})


class InstructorsFieldsSchema(Schema):
    owner_id = ma.fields.UUID(load_default=None, metadata={"description": "Gives the course to another user."})
    editor_ids = ma.fields.List(
        ma.fields.UUID(), required=True, validate=[ma.validate.Length(max=_EDITORS_MAX), unique_items]
    )


@blp.route("/courses/<uuid:course_id>/instructors")
class Instructors(MethodView):
    @require_auth("courses:write")
    @blp.doc(operationId="getInstructors")
    @blp.response(200, InstructorsSchema)
    def get(self, course_id: UUID) -> Response:
        """Retrieve the instructors of a course

        The ETag is that of the course. `GET /v1/instructors/{user_id}` has their names.
        """
        course = get_working_copy(course_id)
        view = {"owner_id": course["instructor_id"], "editor_ids": course["editor_ids"]}
        return versioned_response({"version": course["version"], "view": view})

    @require_auth("courses:write")
    @require_own_course
    @if_match
    @blp.arguments(InstructorsFieldsSchema)
    @blp.doc(operationId="setInstructors")
    @blp.response(200, CourseSchema)
    def put(self, fields: dict[str, Any], course_id: UUID, *, expected_version: int) -> Response:
        """Set the instructors of a course

        For its owner; an editor may send the present instructors without themselves. Takes effect at once. Editors
        change and publish the course, reply to reviews and see its learners; they do not archive it and do not choose
        instructors. They need the permission `courses:write`, too.
        """
        for user_id in {*fields["editor_ids"], fields["owner_id"]} - {None}:
            get_profile(user_id)  # raises NotFound
        command = SetInstructors(
            course_id=course_id, caller=course_caller(current_caller()), expected_version=expected_version, **fields
        )
        return invalidate_and_respond(call(command))


@blp.route("/instructors/<uuid:user_id>")
class Instructor(MethodView):
    @public
    @cached_page_view(lambda: CATALOGUE_VERSION_KEY)  # a new name or picture shows after a minute
    @blp.doc(operationId="getInstructor")
    @blp.response(200, InstructorSchema)
    def get(self, user_id: UUID) -> Any:
        """Retrieve the public profile of an instructor

        Of users with the role `instructor` or `admin`. `GET /v1/courses?instructor_id=` lists their courses on sale.
        """
        return call(ShowInstructor(user_id=user_id))
