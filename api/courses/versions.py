"""Published versions of a course, and its prerequisites."""

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response
from flask.views import MethodView

from api.auth import me, requires
from api.etags import if_match
from api.pages import Page, PageQuery, page, page_of
from api.queue import ask
from api.schemas import Flag, Schema, Timestamp, each_once

from .blueprint import blp, own_course, said_of
from .course import respond_changed, spelled
from .schemas import CourseSchema


class VersionSchema(Schema):
    course_version = ma.fields.Int(metadata={"description": "Number of the published version: 1, 2, 3 …"})
    title = ma.fields.Str()
    summary = ma.fields.Str()
    category = ma.fields.Str()
    level = ma.fields.Str()
    language = ma.fields.Str()
    tags = ma.fields.List(ma.fields.Str())
    lessons_total = ma.fields.Int()
    duration_seconds = ma.fields.Int()
    published_at = Timestamp()
    on_sale = ma.fields.Bool()


class PrerequisitesSchema(Schema):
    course_ids = ma.fields.List(ma.fields.UUID(), required=True, validate=[ma.validate.Length(max=20), each_once])
    sequential = Flag(
        metadata={"description": "Whether a lesson stays locked until all earlier lessons are completed."}
    )


@blp.route("/courses/<ref>/versions")
class Versions(MethodView):
    @requires("courses:write")
    @blp.arguments(PageQuery, location="query")
    @blp.response(200, page_of(VersionSchema))
    def get(self, query: dict[str, Any], ref: str) -> Page:
        """List published versions of a course

        Newest first.
        """
        return page(ask("courses.list_versions", ref=spelled(ref), caller=said_of(me()), **query))

    @requires("courses:write")
    @blp.response(201, CourseSchema)
    def post(self, ref: str) -> Response:
        """Create a version

        Publishes the working copy, like `POST /v1/courses/{ref}/publish`.
        """
        response = respond_changed(ask("courses.publish_course", ref=spelled(ref), caller=said_of(me())))
        response.status_code = 201
        return response


@blp.route("/courses/<ref>/versions/<int:course_version>/restore")
class Restoration(MethodView):
    @requires("courses:write")
    @own_course
    @if_match
    @blp.response(200, CourseSchema)
    def post(self, ref: str, course_version: int, *, expected_version: int) -> Response:
        """Restore a version

        Replaces the working copy with a published version. Learners see it after the next publish.
        """
        restored = ask(
            "courses.restore_version",
            ref=spelled(ref),
            caller=said_of(me()),
            expected_version=expected_version,
            course_version=course_version,
        )
        return respond_changed(restored)


@blp.route("/courses/<uuid:course_id>/prerequisites")
class Prerequisites(MethodView):
    @requires("courses:write")
    @own_course
    @if_match
    @blp.arguments(PrerequisitesSchema)
    @blp.response(200, CourseSchema)
    def put(self, first: dict[str, Any], course_id: UUID, *, expected_version: int) -> Response:
        """Set the prerequisites of a course

        Sets the courses to complete first and whether lessons are sequential. Takes effect with the next publish.
        """
        course = ask(
            "courses.set_prerequisites",
            course_id=course_id,
            caller=said_of(me()),
            expected_version=expected_version,
            prerequisites=first["course_ids"],
            sequential=first.get("sequential"),
        )
        return respond_changed(course)
