"""Define Stripe's errors: ``{"error": {"type", "code", "message", "param"}}``."""

from typing import Any

from ops.fakes.calls import ApiError


def _refusal(status: int, kind: str, message: str, **more: Any) -> ApiError:
    error = {"type": kind, "message": message} | {name: value for name, value in more.items() if value is not None}
    return ApiError(status, {"error": error})


def invalid(message: str, param: str | None = None, code: str | None = None, **more: Any) -> ApiError:
    return _refusal(400, "invalid_request_error", message, param=param, code=code, **more)


def missing(kind: str, object_id: str, *, param: str = "id", status: int = 404) -> ApiError:
    """Return the error for an unknown id: 404 in a path, 400 in a parameter."""
    message = f"No such {kind}: '{object_id}'"
    return _refusal(status, "invalid_request_error", message, param=param, code="resource_missing")


def unexpected_state(action: str, intent: dict[str, Any]) -> ApiError:
    noun = intent["object"]
    message = f"This {noun} could not be {action} because it has a status of {intent['status']}."
    return invalid(message, None, f"{noun}_unexpected_state", **{noun: intent})


def card_error(code: str, message: str, **more: Any) -> ApiError:
    """Return the error of a declined card. The attempt's changes are committed; a repetition gets the same response."""
    refusal = _refusal(402, "card_error", message, code=code, **more)
    return ApiError(402, refusal.body, keeps_changes=True, stored=True)


def unauthorized() -> ApiError:
    return _refusal(401, "invalid_request_error", "Invalid API Key provided.")


def unknown_path(method: str, path: str) -> ApiError:
    return _refusal(404, "invalid_request_error", f"Unrecognized request URL ({method}: {path}).")


def key_reused(key: str) -> ApiError:
    message = (
        "Keys for idempotent requests can only be used with the same parameters they were first used with. "
        f"Try using a key other than '{key}' if you meant to execute a different request."
    )
    return _refusal(400, "idempotency_error", message)


def key_in_use(key: str) -> ApiError:
    message = f"There is currently another in-progress request using this Idempotent Key: {key}"
    return _refusal(409, "invalid_request_error", message, code="idempotency_key_in_use")


def rate_limited() -> ApiError:
    return _refusal(429, "invalid_request_error", "Too many requests hit the API too quickly.", code="rate_limit")


def server_error() -> ApiError:
    return _refusal(500, "api_error", "An unknown error occurred.")
