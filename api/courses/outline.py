"""Sections and lessons of the working copy. Learners see changes after the next publish."""

from typing import Any, cast
from uuid import UUID

import msgspec
from flask import Response
from flask.views import MethodView

from api.auth import current_caller, optional_caller, public, require_auth
from api.conditional_requests import CREATED_HEADERS, created_response, if_match, json_response, versioned_response
from api.rpc import call
from core.cache import CachedView
from models.commands import (
    AddLesson,
    AddSection,
    ChangeLesson,
    RemoveLesson,
    RemoveSection,
    RenameSection,
    ReorderOutline,
)
from models.commands.courses import LessonFields, PlannedSection
from models.errors import NotFound

from .blueprint import blp, course_caller, get_working_copy, require_own_course, show_lesson
from .files import has_files
from .schemas import (
    CourseSchema,
    LessonChangesSchema,
    LessonFieldsSchema,
    LessonSchema,
    OutlineSchema,
    SectionFieldsSchema,
    SectionSchema,
)


@blp.route("/courses/<uuid:course_id>/outline")
class Outline(MethodView):
    @require_auth("courses:write")
    @blp.doc(operationId="getOutline")
    @blp.response(200, CourseSchema)
    def get(self, course_id: UUID) -> Response:
        """Retrieve the course outline

        The working copy with all sections and lessons, also before the course is published.
        """
        return json_response(CachedView.from_view(get_working_copy(course_id)))

    @require_auth("courses:write")
    @require_own_course
    @if_match
    @blp.arguments(OutlineSchema)
    @blp.doc(operationId="replaceOutline")
    @blp.response(200, CourseSchema)
    def put(self, outline: dict[str, Any], course_id: UUID, *, expected_version: int) -> Response:
        """Replace the course outline

        Reorders all sections and lessons. Sections that are not listed are removed.
        """
        course = call(
            ReorderOutline(
                course_id=course_id,
                caller=course_caller(current_caller()),
                expected_version=expected_version,
                sections=msgspec.convert(outline["sections"], list[PlannedSection]),
            )
        )
        return json_response(CachedView.from_view(course))


@blp.route("/courses/<uuid:course_id>/sections")
class Sections(MethodView):
    @require_auth("courses:write")
    @require_own_course
    @blp.arguments(SectionFieldsSchema)
    @blp.doc(operationId="createSection")
    @blp.response(201, SectionSchema, headers=CREATED_HEADERS)
    def post(self, fields: dict[str, Any], course_id: UUID) -> Response:
        """Create a section

        The section is appended to the outline.
        """
        reply = call(AddSection(course_id=course_id, caller=course_caller(current_caller()), title=fields["title"]))
        return created_response(versioned_response(reply), f"/v1/courses/{course_id}/sections/{reply['view']['id']}")


@blp.route("/courses/<uuid:course_id>/sections/<uuid:section_id>")
class Section(MethodView):
    @require_auth("courses:write")
    @blp.doc(operationId="getSection")
    @blp.response(200, SectionSchema)
    def get(self, course_id: UUID, section_id: UUID) -> Response:
        """Retrieve a section

        Of the working copy. The ETag is that of the course.
        """
        course = get_working_copy(course_id)
        for section in course["sections"]:
            if section["id"] == str(section_id):
                return versioned_response({"version": course["version"], "view": section})
        raise NotFound("section", str(section_id))

    @require_auth("courses:write")
    @require_own_course
    @if_match
    @blp.arguments(SectionFieldsSchema)
    @blp.doc(operationId="updateSection")
    @blp.response(200, SectionSchema)
    def patch(self, fields: dict[str, Any], course_id: UUID, section_id: UUID, *, expected_version: int) -> Response:
        """Update a section

        Changes its title. `If-Match` takes the ETag of the course.
        """
        reply = call(
            RenameSection(
                course_id=course_id,
                section_id=section_id,
                caller=course_caller(current_caller()),
                expected_version=expected_version,
                title=fields["title"],
            )
        )
        return versioned_response(reply)

    @require_auth("courses:write")
    @require_own_course
    @if_match
    @blp.doc(operationId="deleteSection")
    @blp.response(204)
    def delete(self, course_id: UUID, section_id: UUID, *, expected_version: int) -> Response:
        """Delete a section

        The section must be empty. `If-Match` takes the ETag of the course.
        """
        reply = call(
            RemoveSection(
                course_id=course_id,
                section_id=section_id,
                caller=course_caller(current_caller()),
                expected_version=expected_version,
            )
        )
        return versioned_response(reply)


@blp.route("/courses/<uuid:course_id>/lessons")
class Lessons(MethodView):
    @require_auth("courses:write")
    @require_own_course
    @blp.arguments(LessonFieldsSchema)
    @blp.doc(operationId="createLesson")
    @blp.response(201, LessonSchema, headers=CREATED_HEADERS)
    def post(self, fields: dict[str, Any], course_id: UUID) -> Response:
        """Create a lesson

        The lesson is appended to its section.
        """
        section_id = fields.pop("section_id")
        reply = call(
            AddLesson(
                course_id=course_id,
                section_id=section_id,
                caller=course_caller(current_caller()),
                fields=cast("LessonFields", fields),
            )
        )
        return created_response(versioned_response(reply), f"/v1/courses/{course_id}/lessons/{reply['view']['id']}")


@blp.route("/courses/<uuid:course_id>/lessons/<uuid:lesson_id>")
class Lesson(MethodView):
    @public
    @blp.doc(operationId="getLesson")
    @blp.alt_response(409, "Problem409")
    @blp.response(200, LessonSchema)
    def get(self, course_id: UUID, lesson_id: UUID) -> Response:
        """Retrieve a lesson

        Returns the lesson with its content, and links to its files, which end: load the lesson again for new ones.
        Requires access to the course, unless the lesson is a free preview.
        """
        caller = optional_caller()
        reply = show_lesson(course_id, lesson_id, caller)
        response = versioned_response(reply, has_links=has_files(reply["view"]))
        response.vary.add("Authorization")
        return response

    @require_auth("courses:write")
    @require_own_course
    @if_match
    @blp.arguments(LessonChangesSchema)
    @blp.doc(operationId="updateLesson")
    @blp.response(200, LessonSchema)
    def patch(self, fields: dict[str, Any], course_id: UUID, lesson_id: UUID, *, expected_version: int) -> Response:
        """Update a lesson

        A `section_id` moves the lesson to the end of that section. `If-Match` takes the ETag of the course.
        """
        reply = call(
            ChangeLesson(
                course_id=course_id,
                lesson_id=lesson_id,
                caller=course_caller(current_caller()),
                expected_version=expected_version,
                section_id=fields.pop("section_id", None),
                fields=cast("LessonFields", fields),
            )
        )
        return versioned_response(reply)

    @require_auth("courses:write")
    @require_own_course
    @if_match
    @blp.doc(operationId="deleteLesson")
    @blp.response(204)
    def delete(self, course_id: UUID, lesson_id: UUID, *, expected_version: int) -> Response:
        """Delete a lesson

        `If-Match` takes the ETag of the course.
        """
        reply = call(
            RemoveLesson(
                course_id=course_id,
                lesson_id=lesson_id,
                caller=course_caller(current_caller()),
                expected_version=expected_version,
            )
        )
        return versioned_response(reply)
