"""What the routes of courses share."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from flask import Response
from flask_smorest import Blueprint
from werkzeug.exceptions import HTTPException

from api.auth import Caller, me
from api.etags import respond
from api.queue import ask
from models.cache import Stored
from models.errors import PreconditionRequired

blp = Blueprint("courses", "courses", url_prefix="/v1", description="What is on sale, writing it, and learning it.")

View = TypeVar("View", bound=Callable[..., Any])


def own_course(view: View) -> View:
    """Refuse in the contract's order: 404 before 428, 400 and 422.

    The body is looked at here and the course in the worker, which is asked first only where the body is refused.
    """

    @functools.wraps(view)
    def ordered(*args: Any, **kwargs: Any) -> Any:
        try:
            return view(*args, **kwargs)
        except (HTTPException, PreconditionRequired):
            ref = kwargs["ref"] if "ref" in kwargs else kwargs["course_id"]
            ask("courses.find_own_course", ref=str(ref), caller=said_of(me()))
            raise

    return ordered  # type: ignore[return-value]  # functools.wraps keeps the view's own type to itself


def said_of(caller: Caller) -> dict[str, Any]:
    """What the courses service wants to know of a caller."""
    return {"user_id": caller.id, "admin": "courses:admin" in caller.permissions}


def respond_with(told: dict[str, Any]) -> Response:
    """Answer with a view and the ETag of the version that it was told with; 204 where nothing is left to show."""
    response = respond(Stored(told["version"], msgspec.json.encode(told["view"])))
    if told["view"] is None:
        response.status_code = 204
    return response


def created(response: Response, location: str) -> Response:
    """The same answer, to something new that is found at ``location``."""
    response.status_code = 201
    response.headers["Location"] = location
    return response
