"""Reading, changing, publishing and archiving a course."""

import re
from typing import Any
from uuid import UUID

from flask import Response
from flask.views import MethodView

from api.auth import current_caller, optional_caller, public, require_auth
from api.conditional_requests import if_match, json_response, optional_if_match
from api.read_cache import cached_response, invalidate, invalidate_catalogue
from api.rpc import call
from core.cache import CachedView, course_key
from models.commands import (
    ArchiveCourse,
    ChangeCourse,
    PreviewPublication,
    PublishCourse,
    ShowCourse,
    UnpublishCourse,
)
from models.commands.courses import CourseFields
from models.errors import NotFound

from .blueprint import blp, course_caller, require_own_course
from .schemas import CourseChangesSchema, CourseSchema, PublicationPreviewSchema, PublicationSchema

_SLUG = re.compile(r"[a-z0-9-]{1,100}")
_AUTHOR_PERMISSIONS = {"courses:write", "courses:admin"}


@blp.route("/courses/<ref>")
class Course(MethodView):
    @public
    @blp.doc(operationId="getCourse")
    @blp.response(200, CourseSchema)
    def get(self, ref: str) -> Response:
        """Retrieve a course

        `ref` is the id, the slug, or a former slug; `slug` of the response is the present one. Returns the published
        version with its outline; authors get the working copy.
        """
        ref = normalize_ref(ref)
        caller = optional_caller()
        if caller and caller.permissions & _AUTHOR_PERMISSIONS:
            response = json_response(CachedView.from_view(call(ShowCourse(ref=ref, caller=course_caller(caller)))))
        else:
            response = cached_response(course_key(ref), ShowCourse(ref=ref, caller=None))
        response.headers["Vary"] = "Authorization"
        return response

    @require_auth("courses:write")
    @require_own_course
    @if_match
    @blp.arguments(CourseChangesSchema)
    @blp.doc(operationId="updateCourse")
    @blp.response(200, CourseSchema)
    def patch(self, fields: CourseFields, ref: str, *, expected_version: int) -> Response:
        """Update a course

        A new price or slug takes effect at once, all other changes with the next publish. Former slugs keep leading to
        the course and are never given to another one.
        """
        course = call(
            ChangeCourse(
                ref=normalize_ref(ref),
                caller=course_caller(current_caller()),
                expected_version=expected_version,
                fields=fields,
            )
        )
        return invalidate_and_respond(course)

    @require_auth("courses:write")
    @require_own_course
    @if_match
    @blp.doc(operationId="archiveCourse")
    @blp.response(204)
    def delete(self, ref: str, *, expected_version: int) -> None:
        """Archive a course

        The course is taken off sale and hidden. Enrolled learners keep their access. Refused with
        `prerequisite_of_courses` as long as courses on sale require it. For its owner.
        """
        caller = course_caller(current_caller())
        invalidate_and_respond(
            call(ArchiveCourse(ref=normalize_ref(ref), caller=caller, expected_version=expected_version))
        )


@blp.route("/courses/<ref>/publish")
class CoursePublish(MethodView):
    @require_auth("courses:write")
    @require_own_course
    @optional_if_match
    @blp.arguments(PublicationSchema, required=False)
    @blp.doc(operationId="publishCourse")
    @blp.response(200, CourseSchema)
    def post(self, publication: dict[str, Any], ref: str, *, expected_version: int | None) -> Response:
        """Publish a course

        Puts the working copy on sale as the next version, if it differs from the version on sale. Published versions
        are immutable. With `If-Match`, a working copy that was changed since is not published. Everything that
        prevents the publication is in `errors` of one 422.

        By default learners keep the version on which they enrolled. With `learners: move`, all of them take this one
        within minutes: completed lessons that it has still count, and who has finished the course stays finished.
        """
        return publish(ref, expected_version, learners=publication["learners"])


@blp.route("/courses/<ref>/publication-preview")
class PublicationPreview(MethodView):
    @require_auth("courses:write")
    @blp.doc(operationId="previewPublication")
    @blp.response(200, PublicationPreviewSchema)
    def get(self, ref: str) -> Any:
        """Preview the publication of a course

        Returns what a publication of the working copy would change, how many learners it concerns, and the errors that
        prevent it.
        """
        return call(PreviewPublication(ref=normalize_ref(ref), caller=course_caller(current_caller())))


@blp.route("/courses/<ref>/unpublish")
class CourseUnpublish(MethodView):
    @require_auth("courses:write")
    @blp.doc(operationId="unpublishCourse")
    @blp.response(200, CourseSchema)
    def post(self, ref: str) -> Response:
        """Unpublish a course

        The course is taken off sale. Enrolled learners keep their access. While it is off sale, courses of which it is
        a prerequisite are open without it.
        """
        return invalidate_and_respond(
            call(UnpublishCourse(ref=normalize_ref(ref), caller=course_caller(current_caller())))
        )


def publish(ref: str, expected_version: int | None, *, learners: str) -> Response:
    """Publish the working copy of the caller's course. Raises the errors of the command."""
    caller = course_caller(current_caller())
    return invalidate_and_respond(
        call(PublishCourse(ref=normalize_ref(ref), caller=caller, expected_version=expected_version, learners=learners))
    )


def invalidate_and_respond(course: dict[str, Any]) -> Response:
    """Return a changed course, after invalidating its cache entries so that the author reads their own write."""
    for ref in (course["id"], course["slug"]):
        invalidate(course_key(ref), course["version"])
    invalidate_catalogue()
    return json_response(CachedView.from_view(course))


def normalize_ref(ref: str) -> str:
    """Return ``ref`` as a slug or a canonical UUID, the form used in cache keys. Raises NotFound if it is neither."""
    try:
        return str(UUID(ref))
    except ValueError:
        if _SLUG.fullmatch(ref):
            return ref
        raise NotFound("course", ref) from None
