"""Check responses against the OpenAPI document of the gateway."""

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import jsonschema_rs

from ops.generate_openapi import OPENAPI

_DECLARED = ("ETag", "Link", "Location", "Retry-After", "WWW-Authenticate")


def assert_documented(method: str, path: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Assert that the document describes this response: status, headers, media type, and every field of its body."""
    operation = _operation(method, path)
    if operation is None:
        return
    assert str(status) in operation["responses"], f"{method} {path}: undocumented status {status}"
    response = _resolved(operation["responses"][str(status)])
    undeclared = {name for name in _DECLARED if name in headers} - response.get("headers", {}).keys()
    assert not undeclared, f"{method} {path} {status}: undocumented headers {undeclared}"
    content = response.get("content", {})
    media_type = headers.get("Content-Type", "").partition(";")[0]
    if not content or not body:
        return
    assert media_type in content, f"{method} {path}: undocumented media type {media_type}"
    if media_type.endswith("json"):
        _assert_valid(f"{method} {path} {status}", json.loads(body), json.dumps(content[media_type]["schema"]))


@cache
def _document() -> dict[str, Any]:
    """Return the document with closed schemas, which find undocumented fields. The published one allows additions."""
    document: dict[str, Any] = json.loads(OPENAPI.read_text())
    for name, schema in document["components"]["schemas"].items():
        if "properties" in schema and name != "EventEnvelope":  # extended by allOf
            schema.setdefault("additionalProperties", False)
    return document


@cache
def _templates() -> list[tuple[re.Pattern[str], dict[str, Any]]]:
    ordered = sorted(_document()["paths"].items(), key=lambda each: each[0].count("{"))
    return [(re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), operations) for path, operations in ordered]


@cache
def _operation(method: str, path: str) -> dict[str, Any] | None:
    for template, operations in _templates():
        if template.fullmatch(path) and method.lower() in operations:
            found: dict[str, Any] = operations[method.lower()]
            return found
    return None


def _resolved(response: dict[str, Any]) -> dict[str, Any]:
    name = response.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = _document()["components"]["responses"][name] if name else response
    return found


@cache
def _validator(schema: str) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(
        {"components": _document()["components"], **json.loads(schema)}, validate_formats=True
    )


def _assert_valid(what: str, body: Any, schema: str) -> None:
    problems = [f"{each.instance_path}: {each.message[:300]}" for each in _validator(schema).iter_errors(body)]
    assert not problems, f"{what} differs from docs/openapi.json: {problems}"
