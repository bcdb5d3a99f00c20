"""The OpenAPI document. Security, common headers and error responses of each route are derived from its policy."""

import re
from typing import Any

import marshmallow as ma
from flask import Flask, Response
from flask_smorest import Api
from werkzeug.exceptions import HTTPException

from . import events_out, examples, problems
from .schemas import Schema

_SAFE_METHODS = {"get", "head"}
_JSON_POINTER = "A JSON pointer into the body, or ?name for a field of the query."


class FaultSchema(Schema):
    pointer = ma.fields.Str(metadata={"description": _JSON_POINTER})
    detail = ma.fields.Str()


class ProblemDetailsSchema(Schema):
    """RFC 9457 problem details. docs/errors.md lists the codes."""

    type = ma.fields.Str()
    title = ma.fields.Str()
    status = ma.fields.Int()
    detail = ma.fields.Str(metadata={"description": "For people."})
    instance = ma.fields.Str()
    code = ma.fields.Str(metadata={"description": "For programs: stable."})
    request_id = ma.fields.Str(metadata={"description": "As in X-Request-Id, and in every log line."})
    errors = ma.fields.List(ma.fields.Nested(FaultSchema))


class Rest(Api):
    """flask-smorest's Api, with errors as RFC 9457 problem details."""

    ERROR_SCHEMA = ProblemDetailsSchema
    DEFAULT_ERROR_RESPONSE_NAME = None  # no "default" response: describe() lists every possible status

    def handle_http_exception(self, error: HTTPException) -> Response:
        return problems.http_error(error)


def rest(app: Flask) -> Rest:
    """Create the API of ``app``, with the shared components and without routes."""
    api = Rest(app)
    api.spec.options["servers"] = [{"url": "/"}]
    components = api.spec.components
    components.security_scheme("token", _TOKEN)
    components.parameter("IdempotencyKey", "header", _IDEMPOTENCY_KEY, lazy=True)
    components.parameter("IdempotencyKeyRequired", "header", {**_IDEMPOTENCY_KEY, "required": True}, lazy=True)
    components.parameter("IfMatch", "header", _IF_MATCH, lazy=True)
    for status, description in _PROBLEMS.items():
        content = {"application/problem+json": {"schema": ProblemDetailsSchema}}
        components.response(f"Problem{status}", {"description": description, "content": content}, lazy=True)
    components.response("Accepted", _ACCEPTED, lazy=True)
    return api


_TOKEN = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "An access token of Auth0's."}
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "description": "A repeat with the same key and body is answered as the first one was, for 24 hours.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}
_IF_MATCH = {
    "name": "If-Match",
    "required": True,
    "description": "The ETag of what you change.",
    "schema": {"type": "string"},
    "example": '"1"',
}
_ACCEPTED = {
    "description": "With Prefer: respond-async. The operation is found at Location.",
    "content": {"application/json": {"schema": "Operation"}},
}
_UNCHANGED = {"description": "It is as If-None-Match says; where the answer had an ETag."}
_PROBLEMS = {
    400: "The request cannot be read, or lacks a header.",
    401: "There is no token, or it is not valid.",
    402: "The payment provider refused.",
    403: "The token does not allow this.",
    404: "There is no such thing, or it is not yours.",
    409: "Its state does not allow this.",
    410: "It was there once, and is forgotten.",
    412: "It has changed since: the ETag is another.",
    413: "The body is above 1 MiB.",
    415: "The body is not JSON.",
    422: "A field does not fit; errors tells which.",
    428: "If-Match is missing.",
    429: "Too many requests; Retry-After tells when to come back.",
    503: "Nothing was done; Retry-After tells when to come back.",
    504: "The outcome is unknown; repeat with the same Idempotency-Key.",
}

_SHOWN_ONCE = (
    "The answer holds a secret, which is shown once and never stored. `Idempotency-Key` and `Prefer: respond-async` "
    "are refused (`secret_not_stored`)."
)


def describe(doc: dict[str, Any], doc_info: dict[str, Any], *, method: str, **_: Any) -> dict[str, Any]:
    """Add security, headers and responses to ``doc``, an OpenAPI operation. A callback of flask-smorest."""
    policy = doc_info["policy"]
    command = method not in _SAFE_METHODS
    if policy.anybody:
        doc["security"] = [] if command or not policy.limited else [{}, {"token": []}]
    else:
        doc["security"] = [{"token": []}]
        doc["x-permissions"] = list(policy.permissions)
        doc["x-machines"] = policy.machines
    headers = []
    if policy.secret_answer:
        doc["x-secret-answer"] = True
        doc["description"] = f"{doc.get('description', '')}\n\n{_SHOWN_ONCE}".strip()
    elif method == "post" and not policy.anybody:
        headers.append("IdempotencyKeyRequired" if policy.idempotency_key_required else "IdempotencyKey")
    if "if_match" in doc_info:
        headers.append("IfMatch")
    if headers:
        doc["parameters"] = [*doc.get("parameters", []), *headers]
    if policy.raw_body:
        doc["requestBody"] = {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
    responses = {status: told for status, told in doc.get("responses", {}).items() if str(status) != "422"}
    for status in _refusals(policy, doc_info, command=command):
        responses.setdefault(status, f"Problem{status}")
    if command and not policy.anybody and not policy.secret_answer:
        responses.setdefault(202, "Accepted")
    if not command and policy.limited:
        responses.setdefault(304, _UNCHANGED)
    doc["responses"] = dict(sorted(responses.items(), key=lambda each: int(each[0])))
    return doc


def _refusals(policy: Any, doc_info: dict[str, Any], *, command: bool) -> set[int]:
    refusals = {400, 422}
    if policy.limited:
        refusals |= {404, 429, 503, 504}
        refusals |= {401, 403}  # on public routes too: for an invalid optional token or webhook signature
    if command:
        refusals |= {409, 413, 415}
    if policy.limit and policy.limit.refused_without_redis:
        refusals.add(402)
    if "if_match" in doc_info:
        refusals |= {412, 428}
    return refusals


def document(api: Rest) -> dict[str, Any]:
    """Build the OpenAPI document. Each operation gets an operationId, which generated clients use as a name."""
    spec: dict[str, Any] = api.spec.to_dict()
    for path, operations in spec["paths"].items():
        words = re.sub(r"[^a-z0-9]+", "_", path.removeprefix("/v1").lower()).strip("_")
        for method, operation in operations.items():
            if method.upper() in {"GET", "PUT", "POST", "PATCH", "DELETE"}:
                operation["operationId"] = f"{method}_{words}"
    _translate_patterns(spec)
    examples.add_to(spec)
    events_out.add_to(spec)
    return spec


def _translate_patterns(part: Any) -> None:
    """Anchor the patterns in ``part``: marshmallow matches from the start, JSON Schema searches anywhere."""
    if isinstance(part, dict):
        if isinstance(pattern := part.get("pattern"), str) and pattern.endswith(r"\Z"):
            part["pattern"] = f"^(?:{pattern[:-2]})$"
        for member in part.values():
            _translate_patterns(member)
    elif isinstance(part, list):
        for member in part:
            _translate_patterns(member)
