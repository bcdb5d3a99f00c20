"""Sections and lessons of the working copy. Learners see changes after the next publish."""

from typing import Any
from uuid import UUID

from flask import Response
from flask.views import MethodView

from api.auth import me, public, requires, visitor
from api.etags import if_match, respond
from api.queue import ask
from models.cache import Stored

from .blueprint import blp, created, own_course, respond_with, said_of
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
    @requires("courses:write")
    @own_course
    @if_match
    @blp.arguments(OutlineSchema)
    @blp.response(200, CourseSchema)
    def put(self, outline: dict[str, Any], course_id: UUID, *, expected_version: int) -> Response:
        """Replace the course outline

        Reorders all sections and lessons. Sections that are not listed are removed.
        """
        course = ask(
            "courses.arrange_outline",
            course_id=course_id,
            caller=said_of(me()),
            expected_version=expected_version,
            sections=outline["sections"],
        )
        return respond(Stored.of(course))


@blp.route("/courses/<uuid:course_id>/sections")
class Sections(MethodView):
    @requires("courses:write")
    @own_course
    @blp.arguments(SectionFieldsSchema)
    @blp.response(201, SectionSchema)
    def post(self, fields: dict[str, Any], course_id: UUID) -> Response:
        """Create a section

        The section is appended to the outline.
        """
        reply = ask("courses.add_section", course_id=course_id, caller=said_of(me()), title=fields["title"])
        return created(respond_with(reply), f"/v1/courses/{course_id}/sections/{reply['view']['id']}")


@blp.route("/courses/<uuid:course_id>/sections/<uuid:section_id>")
class Section(MethodView):
    @requires("courses:write")
    @own_course
    @if_match
    @blp.arguments(SectionFieldsSchema)
    @blp.response(200, SectionSchema)
    def patch(self, fields: dict[str, Any], course_id: UUID, section_id: UUID, *, expected_version: int) -> Response:
        """Update a section

        Changes its title. `If-Match` takes the ETag of the course.
        """
        reply = ask(
            "courses.rename_section",
            course_id=course_id,
            section_id=section_id,
            caller=said_of(me()),
            expected_version=expected_version,
            title=fields["title"],
        )
        return respond_with(reply)

    @requires("courses:write")
    @own_course
    @if_match
    @blp.response(204)
    def delete(self, course_id: UUID, section_id: UUID, *, expected_version: int) -> Response:
        """Delete a section

        The section must be empty. `If-Match` takes the ETag of the course.
        """
        reply = ask(
            "courses.remove_section",
            course_id=course_id,
            section_id=section_id,
            caller=said_of(me()),
            expected_version=expected_version,
        )
        return respond_with(reply)


@blp.route("/courses/<uuid:course_id>/lessons")
class Lessons(MethodView):
    @requires("courses:write")
    @own_course
    @blp.arguments(LessonFieldsSchema)
    @blp.response(201, LessonSchema)
    def post(self, fields: dict[str, Any], course_id: UUID) -> Response:
        """Create a lesson

        The lesson is appended to its section.
        """
        section_id = fields.pop("section_id")
        reply = ask(
            "courses.add_lesson", course_id=course_id, section_id=section_id, caller=said_of(me()), fields=fields
        )
        return created(respond_with(reply), f"/v1/courses/{course_id}/lessons/{reply['view']['id']}")


@blp.route("/courses/<uuid:course_id>/lessons/<uuid:lesson_id>")
class Lesson(MethodView):
    @public
    @blp.response(200, LessonSchema)
    def get(self, course_id: UUID, lesson_id: UUID) -> Response:
        """Retrieve a lesson

        Returns the lesson with its content. Requires access to the course, unless the lesson is a free preview.
        """
        caller = visitor()
        reply = ask(
            "courses.show_lesson",
            course_id=course_id,
            lesson_id=lesson_id,
            caller=said_of(caller) if caller else None,
        )
        response = respond_with(reply)
        response.vary.add("Authorization")
        return response

    @requires("courses:write")
    @own_course
    @if_match
    @blp.arguments(LessonChangesSchema)
    @blp.response(200, LessonSchema)
    def patch(self, fields: dict[str, Any], course_id: UUID, lesson_id: UUID, *, expected_version: int) -> Response:
        """Update a lesson

        A `section_id` moves the lesson to the end of that section. `If-Match` takes the ETag of the course.
        """
        reply = ask(
            "courses.change_lesson",
            course_id=course_id,
            lesson_id=lesson_id,
            caller=said_of(me()),
            expected_version=expected_version,
            section_id=fields.pop("section_id", None),
            fields=fields,
        )
        return respond_with(reply)

    @requires("courses:write")
    @own_course
    @if_match
    @blp.response(204)
    def delete(self, course_id: UUID, lesson_id: UUID, *, expected_version: int) -> Response:
        """Delete a lesson

        `If-Match` takes the ETag of the course.
        """
        reply = ask(
            "courses.remove_lesson",
            course_id=course_id,
            lesson_id=lesson_id,
            caller=said_of(me()),
            expected_version=expected_version,
        )
        return respond_with(reply)
