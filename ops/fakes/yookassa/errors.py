"""Define YooKassa's errors: ``{"type": "error", "id", "code", "description", "parameter"}``."""

import uuid

from ops.fakes.calls import ApiError


def _refusal(status: int, code: str, description: str, parameter: str | None = None) -> ApiError:
    body = {"type": "error", "id": str(uuid.uuid4()), "code": code, "description": description}
    return ApiError(status, body | ({"parameter": parameter} if parameter else {}))


def invalid(description: str, parameter: str | None = None) -> ApiError:
    return _refusal(400, "invalid_request", description, parameter)


def unauthorized() -> ApiError:
    description = "Basic authentication failed: check the shop's id and its secret key."
    return _refusal(401, "invalid_credentials", description, "Authorization")


def missing(noun: str, parameter: str) -> ApiError:
    return _refusal(404, "not_found", f"{noun} doesn't exist or access denied.", parameter)


def key_reused() -> ApiError:
    return invalid("Idempotence key duplicated with a different request.", "Idempotence-Key")


def key_in_use() -> ApiError:
    """Return the error for a key whose first request is still running. ``retry_after`` is in milliseconds."""
    description = "Request accepted, but not processed yet. Retry the request with the same Idempotence-Key."
    return ApiError(202, {"type": "processing", "description": description, "retry_after": 1800})


def rate_limited() -> ApiError:
    return _refusal(429, "too_many_requests", "Too many requests.")


def server_error() -> ApiError:
    return _refusal(500, "internal_server_error", "Internal server error: the outcome is unknown.")
