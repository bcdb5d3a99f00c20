"""What every request carries: its id, its trace, and the claim of its Idempotency-Key."""

import hashlib
import re
import secrets
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, g, request
from structlog.contextvars import bind_contextvars, clear_contextvars

import settings
from models.errors import IdempotencyKeyInvalid, IdempotencyKeyMissing, SecretNotStored

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# No browser is to guess, frame or embed an answer, nor to tell others which one it has seen.
_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
if settings.PUBLIC_URL.startswith("https:"):
    _ALWAYS["Strict-Transport-Security"] = "max-age=31536000; includeSubDomains"

_OUR_ID = "coursebus.request_id"  # in the WSGI environment
_COMMANDS = {"POST", "PUT", "PATCH", "DELETE"}
_REQUEST_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def follow(app: Flask) -> None:
    """Give every request an id and a trace, and answer with them."""
    app.before_request(_begin)
    app.after_request(_finish)
    app.teardown_request(_forget)
    app.wsgi_app = _WithCommonHeaders(app.wsgi_app)  # type: ignore[method-assign]  # as Flask's documentation says


def claim_idempotency_key(caller: str, *, required: bool) -> None:
    """Note the Idempotency-Key of a POST for the command that it starts.

    Raises IdempotencyKeyMissing, IdempotencyKeyInvalid.
    """
    key = request.headers.get("Idempotency-Key")
    if key is None:
        if required:
            raise IdempotencyKeyMissing
        return
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        raise IdempotencyKeyInvalid
    said = b"\n".join((request.full_path.encode(), request.get_data(cache=True)))
    g.claim = {
        "scope": f"{caller} {request.method} {request.url_rule}",
        "key": key,
        "fingerprint": hashlib.sha256(said).hexdigest(),
    }


def refuse_storing() -> None:
    """Refuse the headers that would have the answer stored. Raises SecretNotStored."""
    if "Idempotency-Key" in request.headers:
        raise SecretNotStored("Idempotency-Key")
    if prefers_async():
        raise SecretNotStored("Prefer: respond-async")


def is_command() -> bool:
    """Whether the request at hand may change something."""
    return request.method in _COMMANDS


def prefers_async() -> bool:
    """Whether the client would rather have an operation than wait for its command (RFC 7240)."""
    if not is_command():
        return False
    preferences = ",".join(request.headers.getlist("Prefer")).split(",")
    return any(preference.partition(";")[0].strip().lower() == "respond-async" for preference in preferences)


class _WithCommonHeaders:
    """Adds to every answer what all have. Below Flask, where the headers are a list: a hook takes 5 times as long."""

    def __init__(self, app: "WSGIApplication") -> None:
        self._app = app

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
            there = {name for name, _ in headers}
            missing = [always for always in _ALWAYS.items() if always[0] not in there]
            return start_response(status, [*headers, *missing, ("X-Request-Id", environ[_OUR_ID])], exc_info)

        return self._app(environ, start)


def _begin() -> None:
    made = secrets.token_hex(40)  # one call of the system for all that may be needed
    request.environ[_OUR_ID] = g.request_id = _taken("HTTP_X_REQUEST_ID", _REQUEST_ID) or made[:32]
    g.traceparent = _taken("HTTP_TRACEPARENT", _TRACEPARENT) or f"00-{made[32:64]}-{made[64:]}-01"
    bind_contextvars(request_id=g.request_id, traceparent=g.traceparent)


def _forget(_error: BaseException | None) -> None:
    clear_contextvars()  # the thread goes on with other work


def _taken(variable: str, pattern: re.Pattern[str]) -> str | None:
    sent = request.environ.get(variable, "")
    return sent if pattern.fullmatch(sent) else None


def _finish(response: Response) -> Response:
    if g.get("replayed"):
        response.headers["Idempotent-Replayed"] = "true"
    return response
