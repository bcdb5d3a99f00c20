"""Reading, changing, publishing and archiving a course."""

import re
from typing import Any
from uuid import UUID

from flask import Response
from flask.views import MethodView

from api.auth import me, public, requires, visitor
from api.etags import if_match, respond
from api.queue import ask
from api.reads import cached, outdate, outdate_catalogue
from models.cache import Stored, course_key
from models.errors import NotFound

from .blueprint import blp, own_course, said_of
from .schemas import CourseChangesSchema, CourseSchema

_SLUG = re.compile(r"[a-z0-9-]{1,100}")
_AUTHORS = {"courses:write", "courses:admin"}


@blp.route("/courses/<ref>")
class Course(MethodView):
    @public
    @blp.response(200, CourseSchema)
    def get(self, ref: str) -> Response:
        """Retrieve a course

        `ref` is the id or the slug. Returns the published version with its outline; authors get the working copy.
        """
        ref = spelled(ref)
        caller = visitor()
        if caller and caller.permissions & _AUTHORS:
            response = respond(Stored.of(ask("courses.show_course", ref=ref, caller=said_of(caller))))
        else:
            response = cached(course_key(ref), "courses.show_course", ref=ref, caller=None)
        response.vary.add("Authorization")
        return response

    @requires("courses:write")
    @own_course
    @if_match
    @blp.arguments(CourseChangesSchema)
    @blp.response(200, CourseSchema)
    def patch(self, fields: dict[str, Any], ref: str, *, expected_version: int) -> Response:
        """Update a course

        A new price takes effect at once, all other changes with the next publish.
        """
        course = ask(
            "courses.change_course",
            ref=spelled(ref),
            caller=said_of(me()),
            expected_version=expected_version,
            fields=fields,
        )
        return respond_changed(course)

    @requires("courses:write")
    @own_course
    @if_match
    @blp.response(204)
    def delete(self, ref: str, *, expected_version: int) -> None:
        """Archive a course

        The course is taken off sale. Enrolled learners keep their access.
        """
        caller = said_of(me())
        respond_changed(
            ask("courses.archive_course", ref=spelled(ref), caller=caller, expected_version=expected_version)
        )


@blp.route("/courses/<ref>/publish")
class Publication(MethodView):
    @requires("courses:write")
    @blp.response(200, CourseSchema)
    def post(self, ref: str) -> Response:
        """Publish a course

        Puts the working copy on sale as the next version. Published versions are immutable.
        """
        return respond_changed(ask("courses.publish_course", ref=spelled(ref), caller=said_of(me())))


@blp.route("/courses/<ref>/unpublish")
class Withdrawal(MethodView):
    @requires("courses:write")
    @blp.response(200, CourseSchema)
    def post(self, ref: str) -> Response:
        """Unpublish a course

        The course is taken off sale. Enrolled learners keep their access.
        """
        return respond_changed(ask("courses.unpublish_course", ref=spelled(ref), caller=said_of(me())))


def respond_changed(course: dict[str, Any]) -> Response:
    """Return a changed course, after invalidating its cache entries so that the author reads their own write."""
    for ref in (course["id"], course["slug"]):
        outdate(course_key(ref), course["version"])
    outdate_catalogue()
    return respond(Stored.of(course))


def spelled(ref: str) -> str:
    """Return ``ref`` as a slug or a canonical UUID, the form used in cache keys. Raises NotFound if it is neither."""
    try:
        return str(UUID(ref))
    except ValueError:
        if _SLUG.fullmatch(ref):
            return ref
        raise NotFound("course", ref) from None
