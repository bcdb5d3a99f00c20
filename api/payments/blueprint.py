"""The payments blueprint and helpers shared by its routes."""

from typing import Any

from flask import Response

from api.auth import visitor
from api.blueprints import Blueprint
from api.etags import respond
from models.cache import Stored

blp = Blueprint("payments", "payments", url_prefix="/v1", description="Checkouts, orders, refunds and subscriptions.")


def is_sales_staff() -> bool:
    """Return whether the caller has ``payments:admin``. False without a token."""
    caller = visitor()
    return caller is not None and "payments:admin" in caller.permissions


def respond_private(view: dict[str, Any]) -> Response:
    """Return a view that differs by caller, with its ETag and ``Vary: Authorization``."""
    response = respond(Stored.of(view))
    response.vary.add("Authorization")
    return response
