"""The OpenAPI document. Security, common headers and error responses of each route are derived from its policy."""

import re
from typing import Any

import marshmallow as ma
from flask import Flask, Response
from flask_smorest import Api
from werkzeug.exceptions import HTTPException

from . import openapi_examples, openapi_webhooks, problems
from .schemas import Schema

_SAFE_METHODS = {"get", "head"}
_JSON_POINTER = "A JSON pointer into the body, or ?name for a query parameter."


class FieldErrorSchema(Schema):
    pointer = ma.fields.Str(metadata={"description": _JSON_POINTER})
    detail = ma.fields.Str()


class ProblemDetailsSchema(Schema):
    """RFC 9457 problem details. docs/errors.md lists the codes."""

    type = ma.fields.Str()
    title = ma.fields.Str()
    status = ma.fields.Int()
    detail = ma.fields.Str(metadata={"description": "Explanation for humans."})
    instance = ma.fields.Str()
    code = ma.fields.Str(metadata={"description": "Stable error code for programs."})
    request_id = ma.fields.Str(metadata={"description": "As in X-Request-Id, and in every log line."})
    errors = ma.fields.List(ma.fields.Nested(FieldErrorSchema))


class RestApi(Api):
    """flask-smorest's Api, with errors as RFC 9457 problem details."""

    ERROR_SCHEMA = ProblemDetailsSchema
    DEFAULT_ERROR_RESPONSE_NAME = None  # no "default" response: describe() lists every possible status

    def handle_http_exception(self, error: HTTPException) -> Response:
        return problems.http_error(error)


def create_api(app: Flask) -> RestApi:
    """Create the API of ``app``, with the shared components and without routes."""
    api = RestApi(app)
    api.spec.options["servers"] = [{"url": "/"}]
    components = api.spec.components
    components.security_scheme("token", _TOKEN)
    components.parameter("IdempotencyKey", "header", _IDEMPOTENCY_KEY, lazy=True)
    components.parameter("IdempotencyKeyRequired", "header", {**_IDEMPOTENCY_KEY, "required": True}, lazy=True)
    components.parameter("IfMatch", "header", {**_IF_MATCH, "required": True}, lazy=True)
    components.parameter("IfMatchOptional", "header", _IF_MATCH, lazy=True)
    for status, description in _PROBLEMS.items():
        content = {"application/problem+json": {"schema": ProblemDetailsSchema}}
        components.response(f"Problem{status}", {"description": description, "content": content}, lazy=True)
    components.response("Accepted", _ACCEPTED, lazy=True)
    return api


_TOKEN = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "An access token issued by Auth0."}
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "description": "A repetition with the same key and body gets the first response, for 24 hours.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}
_IF_MATCH = {
    "name": "If-Match",
    "description": "The current ETag of the resource.",
    "schema": {"type": "string"},
    "example": '"1"',
}
_ACCEPTED = {
    "description": "Accepted: with Prefer: respond-async. Location is the URL of the operation.",
    "content": {"application/json": {"schema": "Operation"}},
}
_NOT_MODIFIED = {"description": "Not modified: If-None-Match contains the current ETag."}
_PROBLEMS = {
    400: "The request is malformed, or a header is missing.",
    401: "The token is missing or invalid.",
    402: "The payment provider declined.",
    403: "The token does not allow this.",
    404: "The object does not exist, or belongs to another user.",
    409: "The state of the object does not allow this.",
    410: "The object or position existed and is no longer available.",
    412: "The object has changed: If-Match does not contain its current ETag.",
    413: "The body is above 1 MiB.",
    415: "The body is not JSON.",
    422: "A field is invalid; see errors.",
    428: "If-Match is missing.",
    429: "Too many requests; retry after Retry-After seconds.",
    503: "The request was not executed; retry after Retry-After seconds.",
    504: "The outcome is unknown; retry with the same Idempotency-Key.",
}

_RETURNED_ONCE = (
    "The response has a secret that is returned once and not stored. `Idempotency-Key` and `Prefer: respond-async` "
    "are refused (`secret_not_stored`)."
)


_IF_MATCH_PARAMETERS = {"if_match": "IfMatch", "optional_if_match": "IfMatchOptional"}


def describe(doc: dict[str, Any], doc_info: dict[str, Any], *, method: str, **_: Any) -> dict[str, Any]:
    """Add security, headers and responses to ``doc``, an OpenAPI operation. A callback of flask-smorest."""
    policy = doc_info["policy"]
    command = method not in _SAFE_METHODS
    if policy.anonymous:
        doc["security"] = [] if command or not policy.rate_limited else [{}, {"token": []}]
    else:
        doc["security"] = [{"token": []}]
        doc["x-permissions"] = list(policy.permissions)
        doc["x-machines"] = policy.machines
    headers = []
    if policy.returns_secret:
        doc["x-returns-secret"] = True
        doc["description"] = f"{doc.get('description', '')}\n\n{_RETURNED_ONCE}".strip()
    elif method == "post" and not policy.anonymous:
        headers.append("IdempotencyKeyRequired" if policy.idempotency_key_required else "IdempotencyKey")
    headers += [parameter for decorator, parameter in _IF_MATCH_PARAMETERS.items() if decorator in doc_info]
    if headers:
        doc["parameters"] = [*doc.get("parameters", []), *headers]
    if policy.raw_body:
        doc["requestBody"] = {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
    responses = {status: response for status, response in doc.get("responses", {}).items() if str(status) != "422"}
    for status in _error_statuses(policy, doc_info, command=command):
        responses.setdefault(status, f"Problem{status}")
    if command and not policy.anonymous and not policy.returns_secret:
        responses.setdefault(202, "Accepted")
    if not command and policy.rate_limited:
        responses.setdefault(304, _NOT_MODIFIED)
    doc["responses"] = dict(sorted(responses.items(), key=lambda each: int(each[0])))
    return doc


def _error_statuses(policy: Any, doc_info: dict[str, Any], *, command: bool) -> set[int]:
    statuses = {400, 422}
    if policy.rate_limited:
        statuses |= {404, 429, 503, 504}
        statuses |= {401, 403}  # on public routes too: for an invalid optional token or webhook signature
    if command:
        statuses |= {409, 413, 415}
    if policy.limit and policy.limit.fail_closed:
        statuses.add(402)
    if "if_match" in doc_info:
        statuses |= {412, 428}
    if "optional_if_match" in doc_info:
        statuses.add(412)
    return statuses


def document(api: RestApi) -> dict[str, Any]:
    """Build the OpenAPI document. Each operation gets an operationId, which generated clients use as a name."""
    spec: dict[str, Any] = api.spec.to_dict()
    for path, operations in spec["paths"].items():
        words = re.sub(r"[^a-z0-9]+", "_", path.removeprefix("/v1").lower()).strip("_")
        for method, operation in operations.items():
            if method.upper() in {"GET", "PUT", "POST", "PATCH", "DELETE"}:
                operation["operationId"] = f"{method}_{words}"
    _translate_patterns(spec)
    openapi_examples.add_examples(spec)
    openapi_webhooks.add_webhooks(spec)
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
