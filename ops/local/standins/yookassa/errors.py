"""YooKassa's errors: ``{"type": "error", "id", "code", "description", "parameter"}``."""

import uuid

from ops.local.standins.calls import Refusal


def _refusal(status: int, code: str, description: str, parameter: str | None = None) -> Refusal:
    body = {"type": "error", "id": str(uuid.uuid4()), "code": code, "description": description}
    return Refusal(status, body | ({"parameter": parameter} if parameter else {}))


def invalid(description: str, parameter: str | None = None) -> Refusal:
    return _refusal(400, "invalid_request", description, parameter)


def unauthorized() -> Refusal:
    description = "Basic authentication failed: check the shop's id and its secret key."
    return _refusal(401, "invalid_credentials", description, "Authorization")


def missing(noun: str, parameter: str) -> Refusal:
    return _refusal(404, "not_found", f"{noun} doesn't exist or access denied.", parameter)


def key_reused() -> Refusal:
    return invalid("Idempotence key duplicated with a different request.", "Idempotence-Key")


def key_in_use() -> Refusal:
    """The first request with this key is still running. The wait is in milliseconds."""
    description = "Request accepted, but not processed yet. Retry the request with the same Idempotence-Key."
    return Refusal(202, {"type": "processing", "description": description, "retry_after": 1800})


def rate_limited() -> Refusal:
    return _refusal(429, "too_many_requests", "Too many requests.")


def server_error() -> Refusal:
    return _refusal(500, "internal_server_error", "Internal server error: the outcome is unknown.")
