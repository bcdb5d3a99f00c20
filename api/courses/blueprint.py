"""The courses blueprint, existence checks and response helpers shared by its routes."""

from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from flask import Response

from api.auth import Caller, me
from api.blueprints import Blueprint
from api.etags import respond
from api.queue import look_up
from models.cache import Stored
from models.errors import NotEnrolled

blp = Blueprint("courses", "courses", url_prefix="/v1", description="Catalogue, authoring, enrollment and reviews.")

View = TypeVar("View", bound=Callable[..., Any])


def own_course(view: View) -> View:
    """Answer 404 instead of a validation error if the caller has no such course to change."""
    view.find = _find_own_course  # type: ignore[attr-defined]  # called by api.auth
    return view


def _find_own_course(*, ref: str | None = None, course_id: UUID | None = None, **_: object) -> None:
    look_up("courses.find_own_course", ref=ref or str(course_id), caller=said_of(me()))


def learned_course(view: View) -> View:
    """Answer 403 or 404 instead of a validation error if the caller has no access to the course."""
    view.find = _find_access  # type: ignore[attr-defined]  # called by api.auth
    return view


def _find_access(*, course_id: UUID) -> None:
    if not look_up("courses.show_access", user_id=me().id, course_id=course_id)["access"]:
        raise NotEnrolled(str(course_id))


def own_lesson(view: View) -> View:
    """Answer 403 or 404 instead of a validation error if the caller has no access to the lesson."""
    view.find = _find_lesson  # type: ignore[attr-defined]  # called by api.auth
    return view


def _find_lesson(*, course_id: UUID, lesson_id: UUID) -> None:
    look_up("courses.show_lesson", course_id=course_id, lesson_id=lesson_id, caller=said_of(me()))


def said_of(caller: Caller) -> dict[str, Any]:
    """Return the fields of the caller that the courses service needs to authorize a request."""
    return {"user_id": caller.id, "admin": "courses:admin" in caller.permissions}


def respond_with(reply: dict[str, Any]) -> Response:
    """Return ``reply["view"]`` with ``reply["version"]`` as its ETag; 204 if the view is None."""
    response = respond(Stored(reply["version"], msgspec.json.encode(reply["view"])))
    if reply["view"] is None:
        response.status_code = 204
    return response


def created(response: Response, location: str) -> Response:
    """Turn ``response`` into a 201 with this Location header."""
    response.status_code = 201
    response.headers["Location"] = location
    return response
