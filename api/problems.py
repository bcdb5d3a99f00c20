"""Errors as RFC 9457 problems, whatever raised them: a view, a worker, the router, a parser, a bug."""

from http import HTTPStatus
from typing import Any

import msgspec
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from models.errors import DomainError
from models.log import get_logger

log = get_logger(__name__)

# The codes of what Flask and the parsers refuse by themselves.
_CODES = {
    400: "malformed",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "body_too_large",
    415: "unsupported_media_type",
    422: "validation_failed",
    429: "rate_limited",
}


def handle(app: Flask) -> None:
    """Answer every error of ``app`` with a problem."""
    app.register_error_handler(DomainError, _domain_error)
    app.register_error_handler(HTTPException, http_error)
    app.register_error_handler(Exception, _bug)


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    errors: list[dict[str, str]] | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """A problem+json response; ``errors`` are {"pointer", "detail"}, one for each field at fault."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": request.path,
        "code": code,
        "request_id": g.get("request_id"),
    }
    if errors:
        body["errors"] = errors
    return Response(msgspec.json.encode(body), status, headers, content_type="application/problem+json")


def _domain_error(error: DomainError) -> Response:
    headers = {"Retry-After": str(error.retry_after_seconds)} if error.retry_after_seconds else {}
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return problem(error.status, error.code, str(error), headers=headers)


def http_error(error: HTTPException) -> Response:
    """What the router or a parser refused. webargs leaves the fields at fault in ``error.data["messages"]``."""
    if error.response is not None:
        return Response(error.response.get_data(), error.response.status_code, error.response.headers)
    status = error.code or 500
    messages = getattr(error, "data", {}).get("messages", {})
    if "Invalid JSON body." in messages.get("json", []):
        return problem(400, "malformed", "The body is not valid JSON.")
    errors = [entry for place, fields in messages.items() for entry in _pointers(place, fields)]
    headers = {"Allow": ", ".join(sorted(error.valid_methods))} if getattr(error, "valid_methods", None) else None
    detail = "The request does not fit: see errors." if errors else (error.description or HTTPStatus(status).phrase)
    return problem(status, _CODES.get(status, "http_error"), detail, errors=errors, headers=headers)


def _pointers(place: str, messages: Any, path: str = "") -> list[dict[str, str]]:
    """Marshmallow's nested messages as a list: a JSON pointer for the body, ``?name`` for the query."""
    if isinstance(messages, dict):
        return [
            entry
            for name, nested in messages.items()
            for entry in _pointers(place, nested, path if name == "_schema" else f"{path}/{_escaped(str(name))}")
        ]
    pointer = path if place.startswith("json") else f"?{path.lstrip('/')}"
    return [{"pointer": pointer, "detail": str(message)} for message in messages]


def _escaped(token: str) -> str:
    return token.replace("~", "~0").replace("/", "~1")


def _bug(error: Exception) -> Response:
    log.error("request crashed", path=request.path, method=request.method, exc_info=error)
    return problem(500, "internal_error", "Something went wrong on our side; it has been logged under this request id.")
