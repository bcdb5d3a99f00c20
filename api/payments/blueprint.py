"""What the routes of payments share."""

from typing import Any

from flask import Response

from api.auth import visitor
from api.blueprints import Blueprint
from api.etags import respond
from models.cache import Stored

blp = Blueprint("payments", "payments", url_prefix="/v1", description="Buying courses.")


def is_sales_staff() -> bool:
    """Return whether the request carries the token of a person who manages what is sold."""
    caller = visitor()
    return caller is not None and "payments:admin" in caller.permissions


def respond_private(view: dict[str, Any]) -> Response:
    """Answer with a view that depends on who asks, and its ETag."""
    response = respond(Stored.of(view))
    response.vary.add("Authorization")
    return response
