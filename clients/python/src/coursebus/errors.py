"""Errors that the client raises."""

from typing import Any

import httpx
import msgspec


class CoursebusError(Exception):
    """The base of all errors of this package."""


class ConnectionFailed(CoursebusError):
    """No answer arrived. If the request was sent, its outcome is unknown."""


class OperationFailed(CoursebusError):
    """An asynchronous operation ended with an error."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{detail} [{code}]")
        self.code, self.detail = code, detail


class ApiError(CoursebusError):
    """The API answered with a problem. Branch on ``code``, which is stable; ``detail`` is for people.

    ``errors`` lists the invalid fields, each with ``detail`` and ``pointer`` (body) or ``parameter`` (query). Support
    finds the request by ``request_id``.
    """

    def __init__(self, status: int, problem: dict[str, Any], retry_after: float | None) -> None:
        self.status: int = status
        self.code: str = problem.get("code", "unexpected_response")
        self.detail: str = problem.get("detail", "The response is not a problem document.")
        self.errors: list[dict[str, str]] = problem.get("errors", [])
        self.request_id: str | None = problem.get("request_id")
        self.retry_after = retry_after
        super().__init__(self._text())

    def _text(self) -> str:
        places = (f"{each.get('pointer') or each.get('parameter')}: {each['detail']}" for each in self.errors)
        text = "; ".join([f"{self.status} {self.code}: {self.detail}", *places])
        return f"{text} (request {self.request_id})" if self.request_id else text


class BadRequest(ApiError):
    """The request is malformed."""


class Unauthorized(ApiError):
    """The token is missing, invalid or expired."""


class PaymentDeclined(ApiError):
    """The payment provider declined."""


class Forbidden(ApiError):
    """The token does not allow this."""


class NotFound(ApiError):
    """The object does not exist, or belongs to another user."""


class Conflict(ApiError):
    """The state of the object does not allow this."""


class Gone(ApiError):
    """The object or position existed and is no longer available."""


class PreconditionFailed(ApiError):
    """The object has changed since it was read: read it again."""


class ValidationFailed(ApiError):
    """A field is invalid; see ``errors``."""


class TooManyRequests(ApiError):
    """The rate limit is exhausted."""


class Unavailable(ApiError):
    """The request was not executed."""


class OutcomeUnknown(ApiError):
    """The deadline passed before the result was known. Repeat the request with the same idempotency key."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthorized,
    402: PaymentDeclined,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    412: PreconditionFailed,
    422: ValidationFailed,
    429: TooManyRequests,
    503: Unavailable,
    504: OutcomeUnknown,
}


def retry_after(response: httpx.Response) -> float | None:
    """Return the seconds of ``Retry-After``, or None."""
    seconds: str = response.headers.get("Retry-After", "")
    return float(seconds) if seconds.isdecimal() else None


def api_error(response: httpx.Response) -> ApiError:
    """Return the error that ``response`` stands for."""
    try:
        problem = msgspec.json.decode(response.content, type=dict[str, Any])
    except msgspec.DecodeError:
        problem = {}
    return _BY_STATUS.get(response.status_code, ApiError)(response.status_code, problem, retry_after(response))
