"""Published versions of a course, and its prerequisites."""

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response
from flask.views import MethodView

from api.auth import current_caller, require_auth
from api.conditional_requests import if_match, optional_if_match, versioned_response
from api.pagination import Page, PageQuery, page_response, page_schema
from api.rpc import call
from api.schemas import Flag, Schema, Timestamp, unique_items
from models.commands import ListVersions, RestoreVersion, SetPrerequisites

from .blueprint import blp, course_caller, get_working_copy, require_own_course
from .course import invalidate_and_respond, normalize_ref, publish
from .schemas import CourseSchema, PublicationSchema


class CourseVersionSchema(Schema):
    course_version = ma.fields.Int(metadata={"description": "Number of the published version: 1, 2, 3 …"})
    title = ma.fields.Str()
    summary = ma.fields.Str()
    category = ma.fields.Str()
    level = ma.fields.Str()
    language = ma.fields.Str()
    tags = ma.fields.List(ma.fields.Str())
    cover_url = ma.fields.Str(allow_none=True, metadata={"format": "uri"})
    lessons_total = ma.fields.Int()
    duration_seconds = ma.fields.Int()
    published_at = Timestamp()
    on_sale = ma.fields.Bool()


class PrerequisitesSchema(Schema):
    course_ids = ma.fields.List(ma.fields.UUID(), required=True, validate=[ma.validate.Length(max=20), unique_items])
    sequential = Flag(
        metadata={"description": "Whether a lesson stays locked until all earlier lessons are completed."}
    )


class CoursePrerequisitesSchema(Schema):
    course_ids = ma.fields.List(ma.fields.UUID(), metadata={"description": "The courses to complete first."})
    sequential = ma.fields.Bool(metadata={"description": "Whether lessons must be completed in order."})


@blp.route("/courses/<ref>/versions")
class Versions(MethodView):
    @require_auth("courses:write")
    @blp.arguments(PageQuery, location="query")
    @blp.doc(operationId="listCourseVersions")
    @blp.response(200, page_schema(CourseVersionSchema))
    def get(self, query: dict[str, Any], ref: str) -> Page:
        """List published versions of a course

        Newest first.
        """
        return page_response(
            call(ListVersions(ref=normalize_ref(ref), caller=course_caller(current_caller()), **query))
        )

    @require_auth("courses:write")
    @require_own_course
    @optional_if_match
    @blp.arguments(PublicationSchema, required=False)
    @blp.doc(operationId="createCourseVersion")
    @blp.response(201, CourseSchema)
    def post(self, publication: dict[str, Any], ref: str, *, expected_version: int | None) -> Response:
        """Create a version

        Publishes the working copy, like `POST /v1/courses/{ref}/publish`.
        """
        response = publish(ref, expected_version, learners=publication["learners"])
        response.status_code = 201
        return response


@blp.route("/courses/<ref>/versions/<int:course_version>/restore")
class VersionRestore(MethodView):
    @require_auth("courses:write")
    @require_own_course
    @if_match
    @blp.doc(operationId="restoreCourseVersion")
    @blp.response(200, CourseSchema)
    def post(self, ref: str, course_version: int, *, expected_version: int) -> Response:
        """Restore a version

        Replaces the working copy with a published version. Learners see it after the next publish.
        """
        restored = call(
            RestoreVersion(
                ref=normalize_ref(ref),
                caller=course_caller(current_caller()),
                expected_version=expected_version,
                course_version=course_version,
            )
        )
        return invalidate_and_respond(restored)


@blp.route("/courses/<uuid:course_id>/prerequisites")
class Prerequisites(MethodView):
    @require_auth("courses:write")
    @blp.doc(operationId="getPrerequisites")
    @blp.response(200, CoursePrerequisitesSchema)
    def get(self, course_id: UUID) -> Response:
        """Retrieve the prerequisites of a course

        Of the working copy. The ETag is that of the course.
        """
        course = get_working_copy(course_id)
        view = {"course_ids": course["prerequisites"], "sequential": course["sequential"]}
        return versioned_response({"version": course["version"], "view": view})

    @require_auth("courses:write")
    @require_own_course
    @if_match
    @blp.arguments(PrerequisitesSchema)
    @blp.doc(operationId="setPrerequisites")
    @blp.response(200, CourseSchema)
    def put(self, body: dict[str, Any], course_id: UUID, *, expected_version: int) -> Response:
        """Set the prerequisites of a course

        Sets the courses to complete first and whether lessons are sequential. Takes effect with the next publish.
        """
        course = call(
            SetPrerequisites(
                course_id=course_id,
                caller=course_caller(current_caller()),
                expected_version=expected_version,
                prerequisites=body["course_ids"],
                sequential=body.get("sequential"),
            )
        )
        return invalidate_and_respond(course)
