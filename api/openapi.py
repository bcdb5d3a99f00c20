"""The OpenAPI document. Security, common headers and error responses of each route are derived from its policy."""

from pathlib import Path
from typing import Any

import marshmallow as ma
from flask import Flask, Response
from flask_smorest import Api
from werkzeug.exceptions import HTTPException

from . import openapi_events, openapi_examples, openapi_notifications, openapi_response_examples, problems
from .openapi_components import complete_components
from .openapi_descriptions import add_descriptions
from .schemas import OPTIONAL, Schema

_SAFE_METHODS = {"get", "head"}


class FieldErrorSchema(Schema):
    """An invalid field of the body, or an invalid query parameter."""

    pointer = ma.fields.Str(metadata={"description": "JSON pointer to the field of the body.", **OPTIONAL})
    parameter = ma.fields.Str(metadata={"description": "Name of the query parameter.", **OPTIONAL})
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
    errors = ma.fields.List(ma.fields.Nested(FieldErrorSchema), metadata=OPTIONAL)


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
    api.spec.options["info"] = {"description": _INTRODUCTION.read_text()}
    components = api.spec.components
    components.security_scheme("token", _TOKEN)
    components.parameter("IdempotencyKey", "header", _IDEMPOTENCY_KEY, lazy=True)
    components.parameter("IdempotencyKeyRequired", "header", {**_IDEMPOTENCY_KEY, "required": True}, lazy=True)
    components.parameter("Prefer", "header", _PREFER, lazy=True)
    components.parameter("IfMatch", "header", {**_IF_MATCH, "required": True}, lazy=True)
    components.parameter("IfMatchOptional", "header", _IF_MATCH, lazy=True)
    for name, header in _HEADERS.items():
        components.header(name, {"schema": {"type": "string"}, **header})
    for status, description in _PROBLEMS.items():
        content = {"application/problem+json": {"schema": ProblemDetailsSchema}}
        described = {"description": description, "content": content, **_headers(*_PROBLEM_HEADERS.get(status, ()))}
        components.response(f"Problem{status}", described, lazy=True)
    components.response("Accepted", _ACCEPTED, lazy=True)
    return api


_INTRODUCTION = Path(__file__).with_name("templates") / "introduction.md"
_HEADERS: dict[str, dict[str, Any]] = {
    "ETag": {"description": "The version of the object, for If-Match and If-None-Match.", "example": '"1"'},
    "Link": {"description": "The URL of the next page, with rel=next."},
    "Location": {"description": "The URL of the new object or of the operation."},
    "Retry-After": {"description": "Seconds after which to repeat the request.", "schema": {"type": "integer"}},
    "WWW-Authenticate": {"description": "Bearer."},
}
_PROBLEM_HEADERS = {401: ["WWW-Authenticate"], 409: ["Retry-After"], 429: ["Retry-After"], 503: ["Retry-After"]}


def _headers(*names: str) -> dict[str, Any]:
    """Return the ``headers`` member of a response, empty without ``names``."""
    return {"headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names}} if names else {}


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
_PREFER = {
    "name": "Prefer",
    "description": "`respond-async`: answer at once by 202 and an operation.",
    "schema": {"type": "string"},
    "example": "respond-async",
}
_ACCEPTED = {
    "description": "Accepted: with Prefer: respond-async. Location is the URL of the operation.",
    "content": {"application/json": {"schema": "Operation"}},
    **_headers("Location"),
}
_NOT_MODIFIED = {
    "description": "Not modified: If-None-Match contains the current ETag.",
    **_headers("ETag"),
}
_PROBLEMS = {
    400: "The request is malformed, or a header is missing.",
    401: "The token is missing or invalid.",
    402: "The payment provider declined.",
    403: "The token does not allow this.",
    404: "The object does not exist, or belongs to another user.",
    406: "None of the media types in Accept is available.",
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
        doc["x-recorded"] = policy.reads_personal_data
    headers = []
    if policy.returns_secret:
        doc["x-returns-secret"] = True
        doc["description"] = f"{doc.get('description', '')}\n\n{_RETURNED_ONCE}".strip()
    elif method == "post" and not policy.anonymous:
        headers.append("IdempotencyKeyRequired" if policy.idempotency_key_required else "IdempotencyKey")
    headers += [parameter for decorator, parameter in _IF_MATCH_PARAMETERS.items() if decorator in doc_info]
    if command and not policy.anonymous and not policy.returns_secret:
        headers.append("Prefer")
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
    """Build the OpenAPI document."""
    spec: dict[str, Any] = api.spec.to_dict()
    _translate_patterns(spec)
    openapi_examples.add_examples(spec)
    complete_components(spec)
    add_descriptions(spec)
    openapi_events.add_events(spec)
    openapi_notifications.add_notification_data(spec)
    openapi_response_examples.add_response_examples(spec)
    return spec


_SURROGATES = r"\ud800-\udfff"


def _translate_patterns(part: Any) -> None:
    """Make the patterns in ``part`` portable.

    They are anchored: marshmallow matches from the start, JSON Schema searches anywhere. Surrogates are left out: the
    regular expressions of some languages do not allow them, and no valid UTF-8 contains them.
    """
    if isinstance(part, dict):
        if isinstance(pattern := part.get("pattern"), str) and pattern.endswith(r"\Z"):
            part["pattern"] = f"^(?:{pattern[:-2]})$".replace(_SURROGATES, "")
        for member in part.values():
            _translate_patterns(member)
    elif isinstance(part, list):
        for member in part:
            _translate_patterns(member)
