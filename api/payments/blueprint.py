"""The payments blueprint and helpers shared by its routes."""

from typing import Any
from uuid import UUID

from flask import Response

from api.auth import current_caller, optional_caller, record_read
from api.blueprints import Blueprint
from api.conditional_requests import json_response
from core.cache import CachedView

blp = Blueprint("payments", "payments", url_prefix="/v1", description="Checkouts, orders, refunds and subscriptions.")


def is_sales_staff() -> bool:
    """Return whether the caller has ``payments:admin``. False without a token."""
    caller = optional_caller()
    return caller is not None and "payments:admin" in caller.permissions


def owner_filter() -> UUID | None:
    """Return the owner to filter by, or None for any owner (``payments:read``); then the read is recorded."""
    if "payments:read" not in current_caller().permissions:
        return current_caller().id
    record_read()
    return None


def caller_specific_response(view: dict[str, Any]) -> Response:
    """Return a view that differs by caller, with its ETag and ``Vary: Authorization``."""
    response = json_response(CachedView.from_view(view))
    response.vary.add("Authorization")
    return response
