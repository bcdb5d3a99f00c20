"""RFC 9457 problem details for all errors: of views, workers, the router, parsers, and for unexpected exceptions."""

from http import HTTPStatus
from typing import Any

import msgspec
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from core.log import get_logger
from models.errors import DomainError

log = get_logger(__name__)

# Codes of errors raised by Flask, parsers and unexpected exceptions: status and meaning. All other codes are in
# models/errors/.
GATEWAY_CODES = {
    "malformed": (400, "The body is not valid JSON, the query is not UTF-8, or the request is not valid HTTP."),
    "not_found": (404, "The path or the object does not exist, or the object belongs to another user."),
    "method_not_allowed": (405, "The path does not support this method; Allow lists the supported ones."),
    "not_acceptable": (406, "None of the media types in Accept is available; the detail lists those that are."),
    "request_timeout": (408, "The request was not complete within 10 seconds."),
    "body_too_large": (413, "The body is above 1 MiB, that of a webhook above 256 KiB."),
    "uri_too_long": (414, "The request line is above 8,190 characters."),
    "unsupported_media_type": (415, "The body is not sent as application/json."),
    "validation_failed": (422, "Fields are invalid, missing or unknown; errors lists them."),
    "headers_too_large": (431, "A header is above 8,190 characters, or there are more than 100."),
    "internal_error": (500, "An internal error; it is logged with the request id."),
}
_CODES = {status: code for code, (status, _) in GATEWAY_CODES.items()}


def init_app(app: Flask) -> None:
    """Register error handlers that answer every error of ``app`` with problem details."""
    app.register_error_handler(DomainError, _domain_error)
    app.register_error_handler(HTTPException, http_error)
    app.register_error_handler(Exception, _unexpected_error)


def problem_members(status: int, code: str, detail: str) -> dict[str, Any]:
    """Return the members of a problem that do not depend on the request."""
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
    }


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    errors: list[dict[str, str]] | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """Build a problem+json response. ``errors`` has "detail" and "pointer" or "parameter" of each invalid field."""
    body = {**problem_members(status, code, detail), "instance": request.path, "request_id": g.get("request_id")}
    if errors:
        body["errors"] = errors
    return Response(msgspec.json.encode(body), status, headers, content_type="application/problem+json")


def _domain_error(error: DomainError) -> Response:
    headers = {"Retry-After": str(error.retry_after_seconds)} if error.retry_after_seconds else {}
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return problem(error.status, error.code, str(error), errors=error.errors, headers=headers)


def http_error(error: HTTPException) -> Response:
    """Answer an error of the router or a parser. webargs puts messages per field into ``error.data["messages"]``."""
    status = error.code or 500
    messages = getattr(error, "data", {}).get("messages", {})
    entries = (entry for location, fields in messages.items() for entry in _field_errors(location, fields))
    errors = sorted(entries, key=lambda entry: next(iter(entry.values())))  # marshmallow's order is not fixed
    headers = {"Allow": ", ".join(sorted(allowed))} if (allowed := getattr(error, "valid_methods", None)) else None
    detail = "The request is invalid; see errors." if errors else (error.description or HTTPStatus(status).phrase)
    return problem(status, _CODES.get(status, HTTPStatus(status).name.lower()), detail, errors=errors, headers=headers)


def _field_errors(location: str, messages: Any, path: str = "") -> list[dict[str, str]]:
    """Flatten marshmallow's nested messages. A field of the body has a JSON pointer, a query parameter its name."""
    if isinstance(messages, dict):
        return [
            entry
            for name, nested in messages.items()
            for entry in _field_errors(location, nested, path if name == "_schema" else f"{path}/{_escape(str(name))}")
        ]
    place = {"pointer": path} if location.startswith("json") else {"parameter": path.split("/")[1]}
    return [{**place, "detail": str(message)} for message in messages]


def _escape(token: str) -> str:
    return token.replace("~", "~0").replace("/", "~1")


def _unexpected_error(error: Exception) -> Response:
    log.error("request crashed", path=request.path, method=request.method, exc_info=error)
    return problem(500, "internal_error", "An internal error occurred; it is logged with this request id.")
