"""Headers that all requests share: request id, trace context, Idempotency-Key, Prefer, and security headers."""

import hashlib
import random
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, g, request
from structlog.contextvars import bind_contextvars, clear_contextvars

import settings
from core import tracing
from core.log import describe_error
from models.errors import IdempotencyKeyInvalid, IdempotencyKeyMissing, SecretNotStored

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# Browsers must not sniff the content type, frame a response, load resources for it, or send its URL as referrer.
_SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
if settings.PUBLIC_URL.startswith("https:"):
    _SECURITY_HEADERS["Strict-Transport-Security"] = "max-age=31536000; includeSubDomains"

_REQUEST_ID_KEY = "coursebus.request_id"  # in the WSGI environment
_COMMAND_METHODS = {"POST", "PUT", "PATCH", "DELETE"}
_REQUEST_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_PROBES = {"/livez", "/readyz"}  # requested every few seconds: their traces would hide the others
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def init_app(app: Flask) -> None:
    """Set the request id and trace context of every request; add the common headers to every response."""
    app.before_request(_before)
    app.after_request(_after)
    app.teardown_request(_teardown)
    app.wsgi_app = _WithCommonHeaders(app.wsgi_app)  # type: ignore[method-assign]  # as Flask's documentation says


def claim_idempotency_key(caller: str, *, required: bool) -> None:
    """Store the claim for the Idempotency-Key of a POST in ``g.claim``; the command sends it to the worker.

    The fingerprint covers URL and body, so that a key reused for another request is detected.

    Raises IdempotencyKeyMissing, IdempotencyKeyInvalid.
    """
    key = request.headers.get("Idempotency-Key")
    if key is None:
        if required:
            raise IdempotencyKeyMissing
        return
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        raise IdempotencyKeyInvalid
    fingerprinted = b"\n".join((request.full_path.encode(), request.get_data(cache=True)))
    g.claim = {
        "scope": f"{caller} {request.method} {request.url_rule}",
        "key": key,
        "fingerprint": hashlib.sha256(fingerprinted).hexdigest(),
    }


def reject_response_storage() -> None:
    """Refuse Idempotency-Key and Prefer: respond-async, which store the response. Raises SecretNotStored."""
    if "Idempotency-Key" in request.headers:
        raise SecretNotStored("Idempotency-Key")
    if prefers_async():
        raise SecretNotStored("Prefer: respond-async")


def is_command() -> bool:
    """Return whether the method of the current request can change state."""
    return request.method in _COMMAND_METHODS


def prefers_async() -> bool:
    """Return whether a command has ``Prefer: respond-async`` (RFC 7240), so that it becomes an operation."""
    if not is_command():
        return False
    preferences = ",".join(request.headers.getlist("Prefer")).split(",")
    return any(preference.partition(";")[0].strip().lower() == "respond-async" for preference in preferences)


class _WithCommonHeaders:
    """WSGI middleware that adds the common headers to every response. A Flask hook would take five times as long."""

    def __init__(self, app: "WSGIApplication") -> None:
        self._app = app

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
            there = {name for name, _ in headers}
            missing = [always for always in _SECURITY_HEADERS.items() if always[0] not in there]
            return start_response(status, [*headers, *missing, ("X-Request-Id", environ[_REQUEST_ID_KEY])], exc_info)

        return self._app(environ, start)


def _before() -> None:
    # These ids are no secrets. secrets.token_hex makes a system call and gives up the interpreter lock.
    random_hex = f"{random.getrandbits(320):080x}"
    request.environ[_REQUEST_ID_KEY] = g.request_id = _valid_header("HTTP_X_REQUEST_ID", _REQUEST_ID) or random_hex[:32]
    given = _valid_header("HTTP_TRACEPARENT", _TRACEPARENT)
    if tracing.is_on() and request.path not in _PROBES:
        # The route, not the path: that may contain a secret token.
        name = f"{request.method} {request.url_rule.rule}" if request.url_rule else request.method
        g.span = tracing.Span(name, "server", given, {"coursebus.request_id": g.request_id})
        given = g.span.traceparent
    g.traceparent = given or f"00-{random_hex[32:64]}-{random_hex[64:]}-01"
    bind_contextvars(request_id=g.request_id, traceparent=g.traceparent)


def _teardown(error: BaseException | None) -> None:
    if (span := g.pop("span", None)) is not None:
        if error is not None:
            span.fail(describe_error(error))
        span.end()
    clear_contextvars()  # the thread will serve other requests


def _valid_header(variable: str, pattern: re.Pattern[str]) -> str | None:
    sent = request.environ.get(variable, "")
    return sent if pattern.fullmatch(sent) else None


def _after(response: Response) -> Response:
    if "span" in g:
        g.span.set("http.response.status_code", response.status_code)
    if g.get("replayed"):
        response.headers["Idempotent-Replayed"] = "true"
    return response
