"""Copies of courses, documents for export and import, and the way back from the archive."""

from typing import Any

import marshmallow as ma
import msgspec
from flask import Response
from flask.views import MethodView

import settings
from api.auth import current_caller, require_auth
from api.conditional_requests import CREATED_HEADERS, created, optional_if_match
from api.rpc import call
from api.schemas import Line, Schema, unique_items
from models.commands import DuplicateCourse, ExportCourse, ImportCourse, UnarchiveCourse
from models.commands.authoring import CourseDocument

from .blueprint import blp, course_caller, require_own_course
from .course import invalidate_and_respond, normalize_ref
from .schemas import CourseFieldsSchema, CourseSchema, CourseSlug, LessonFieldsSchema


class CopySchema(Schema):
    title = Line(load_default=None, metadata={"description": "Title of the copy; defaults to that of the course."})


class LessonDocumentSchema(LessonFieldsSchema):
    """A lesson in a document."""

    class Meta(Schema.Meta):
        exclude = ("section_id",)


class SectionDocumentSchema(Schema):
    """A section in a document."""

    title = Line(required=True)
    lessons = ma.fields.List(
        ma.fields.Nested(LessonDocumentSchema),
        required=True,
        validate=ma.validate.Length(max=settings.COURSE_LESSONS_MAX),
    )


class CourseDocumentSchema(Schema):
    """A course outside of an installation: without ids, versions and learners."""

    format = ma.fields.Str(
        required=True,
        validate=ma.validate.Regexp(r"coursebus-course/1\Z", error="Must be coursebus-course/1."),
        metadata={"description": "Name and version of the format."},
    )
    course = ma.fields.Nested(CourseFieldsSchema, required=True)
    prerequisites = ma.fields.List(
        CourseSlug(),
        load_default=[],
        validate=[ma.validate.Length(max=20), unique_items],
        metadata={"description": "Slugs of the courses to complete first."},
    )
    sections = ma.fields.List(
        ma.fields.Nested(SectionDocumentSchema),
        required=True,
        validate=ma.validate.Length(max=settings.COURSE_SECTIONS_MAX),
    )


@blp.route("/courses/<ref>/copies")
class Copies(MethodView):
    @require_auth("courses:write")
    @require_own_course
    @blp.arguments(CopySchema, required=False)
    @blp.doc(operationId="duplicateCourse")
    @blp.response(201, CourseSchema, headers=CREATED_HEADERS)
    def post(self, fields: dict[str, Any], ref: str) -> Response:
        """Duplicate a course

        Copies the working copy with all lessons to a new draft of the caller. Sections and lessons get new ids.
        Learners, reviews and versions are not copied.
        """
        caller = course_caller(current_caller())
        course = call(DuplicateCourse(ref=normalize_ref(ref), caller=caller, title=fields["title"]))
        return created(course, f"/v1/courses/{course['id']}")


@blp.route("/courses/<ref>/export")
class Export(MethodView):
    @require_auth("courses:write")
    @blp.doc(operationId="exportCourse")
    @blp.response(200, CourseDocumentSchema)
    def get(self, ref: str) -> Response:
        """Export a course

        Returns the working copy as a document, with the contents of all lessons and the answers of quizzes.
        `POST /v1/course-imports` creates an equal course from it, here or in another installation.
        """
        document = call(ExportCourse(ref=normalize_ref(ref), caller=course_caller(current_caller())))
        return Response(msgspec.json.encode(document), content_type="application/json")  # its times are texts already


@blp.route("/course-imports")
class Imports(MethodView):
    @require_auth("courses:write")
    @blp.arguments(CourseDocumentSchema)
    @blp.doc(operationId="importCourse")
    @blp.response(201, CourseSchema, headers=CREATED_HEADERS)
    def post(self, document: CourseDocument) -> Response:
        """Import a course

        Creates a draft of the caller from the document of an export, with new ids. A document with errors is refused as
        a whole: each error has a pointer to its place.
        """
        course = call(ImportCourse(instructor_id=current_caller().id, document=document))
        return created(course, f"/v1/courses/{course['id']}")


@blp.route("/courses/<ref>/unarchive")
class Unarchive(MethodView):
    @require_auth("courses:write")
    @optional_if_match
    @blp.doc(operationId="unarchiveCourse")
    @blp.response(200, CourseSchema)
    def post(self, ref: str, *, expected_version: int | None) -> Response:
        """Unarchive a course

        Returns an archived course to its author as a draft, which can be changed and published again. No effect if it
        is not archived.
        """
        caller = course_caller(current_caller())
        return invalidate_and_respond(
            call(UnarchiveCourse(ref=normalize_ref(ref), caller=caller, expected_version=expected_version))
        )
