"""Examples of responses in the OpenAPI document, built from the schemas and from the examples of fields below.

One response of each operation gets an example: the first of its successful ones, 202 only if there is no other.
tests/unit/api/test_openapi.py validates all of them.
"""

import json
from typing import Any

from .openapi_examples import BODIES, COURSE, PATH_PARAMETERS

Part = dict[str, Any]

_TIME, _LATER = "2026-01-31T09:30:00Z", "2027-01-31T09:30:00Z"
_BY_FORMAT = {
    "uuid": "7f1c2a4e-5b7d-4c0a-9d55-0a3a4a7c1b11",
    "date-time": _TIME,
    "date": "2026-01-31",
    "uri": "https://example.com/coursebus",
    "email": "ann@example.com",
}
# Examples by the name of a field; used where they fit the type.
_BY_NAME: dict[str, Any] = {
    **{name: value for name, value in PATH_PARAMETERS.items() if name != "ref"},
    "course_id": COURSE,
    "slug": PATH_PARAMETERS["ref"],
    "title": "Knots that hold",
    "course_title": "Knots that hold",
    "lesson_title": "The bowline",
    "description": "Knots that hold",
    "summary": "Ten knots for a life on the water.",
    "category": "sailing",
    "language": "en",
    "locale": "en",
    "timezone": "Europe/Berlin",
    "name": "Ann Lee",
    "holder": "Ann Lee",
    "email": "ann@example.com",
    "company": "Lee & Sons",
    "address": "1 Harbour Street\nRotterdam",
    "tax_id": "NL001234567B01",
    "tax_name": "VAT",
    "seller": "Coursebus",
    "issuer": "Coursebus",
    "currency": "EUR",
    "amount_minor": 1900,
    "price_minor": 1900,
    "total_minor": 1900,
    "amount": "19.00",
    "total": "19.00",
    "net_minor": 1583,
    "net": "15.83",
    "tax_minor": 317,
    "tax": "3.17",
    "tax_basis_points": 2000,
    "refunded_minor": 0,
    "refunded": "0.00",
    "discount_minor": 0,
    "discount": "0.00",
    "number": "2026-000001",
    "code": "ABCD-EFGH-JKMN-PQRS",
    "coupon": None,
    "provider": "stripe",
    "rating": 5,
    "percent": 50,
    "lessons_completed": 5,
    "lessons_total": 10,
    "version": 1,
    "body": "We meet at 18:00.",
    "subject": "Live session on Friday",
    "text": "At last I understand what a median is for.",
    "reason": "requested by the buyer",
    "expires_at": _LATER,
    "ends_at": _LATER,
    "period_end": _LATER,
    "next_cursor": None,
    "next": None,
    "deleted_at": None,
    "ended_at": None,
    "failed_at": None,
    "revoked_at": None,
    "voided_at": None,
    "read_at": None,
    "archived_at": None,
    "problem": None,
    "error": None,
    "accent_color": "#0b6e5f",
    "from": "22:00",
    "to": "08:00",
    "sequence": "1",
    "position": "42",
    "event_types": ["COURSE_PURCHASED"],
    "request_id": "7f1c2a4e5b7d4c0a9d550a3a4a7c1b11",
}
_DEPTH_MAX = 12  # of schemas that contain themselves


def add_response_examples(spec: Part) -> None:
    """Add an example to the first successful JSON response of each operation of an OpenAPI document."""
    schemas = spec["components"]["schemas"]
    for path in spec["paths"].values():
        for operation in path.values():
            if not (isinstance(operation, dict) and "responses" in operation):
                continue
            statuses = sorted(operation["responses"], key=lambda each: (str(each) == "202", str(each)))
            content = next((found for each in statuses if (found := _content(operation, each))), {})
            for media_type, media in content.items():
                if media_type.endswith("json") and "schema" in media:
                    media["example"] = example_of(media["schema"], schemas)


def _content(operation: Part, status: str) -> Part:
    """Return the content of a successful response; empty for other ones and for those without a body."""
    content: Part = operation["responses"][status].get("content", {}) if str(status).startswith("2") else {}
    return content


def example_of(schema: Part, schemas: Part, *, name: str = "", depth: int = 0) -> Any:
    """Return an example of ``schema``, which is that of a field called ``name``."""
    if "$ref" in schema:
        component = schema["$ref"].rpartition("/")[2]
        schema = schemas[component] | ({"example": BODIES[component]} if component in BODIES else {})
    if "example" in schema or "const" in schema or "enum" in schema:
        return schema.get("example", schema.get("const", (schema.get("enum") or [None])[0]))
    if variants := schema.get("oneOf") or schema.get("anyOf"):
        return _of_variants(variants, schemas, name=name, depth=depth)
    if "allOf" in schema:
        parts = [example_of(each, schemas, name=name, depth=depth) for each in schema["allOf"]]
        return {key: value for each in parts for key, value in each.items()} if len(parts) > 1 else parts[0]
    return _of_types(schema, schemas, name=name, depth=depth)


def _of_types(schema: Part, schemas: Part, *, name: str, depth: int) -> Any:
    types = schema.get("type", "object")
    allowed = types if isinstance(types, list) else [types]
    if name in _BY_NAME and _json_type(_BY_NAME[name]) in allowed and _fits(_BY_NAME[name], schema):
        return _BY_NAME[name]
    if depth > _DEPTH_MAX:
        return [] if "array" in allowed else {} if "object" in allowed else None
    return _of_type(next(each for each in allowed if each != "null"), schema, schemas, name=name, depth=depth)


def _of_variants(variants: list[Part], schemas: Part, *, name: str, depth: int) -> Any:
    if any(each.get("type") == "null" for each in variants) and _BY_NAME.get(name, "") is None:
        return None
    first = next(each for each in variants if each.get("type") != "null")
    return example_of(first, schemas, name=name, depth=depth)


def _of_type(kind: str, schema: Part, schemas: Part, *, name: str, depth: int) -> Any:
    if kind == "object":
        fields = schema.get("properties", {})
        return {each: example_of(part, schemas, name=each, depth=depth + 1) for each, part in fields.items()}
    if kind == "array":
        items = example_of(schema.get("items", {}), schemas, name=name, depth=depth + 1)
        return [items] if schema.get("maxItems", 1) else []
    if kind == "string":
        return _BY_FORMAT.get(schema.get("format", ""), "text")
    if kind in {"integer", "number"}:
        return max(schema.get("minimum", 1), 1)
    return True


def _fits(value: Any, schema: Part) -> bool:
    """Return whether an example by name has the format that the schema asks for."""
    wanted = schema.get("format")
    return (
        value is None or wanted not in _BY_FORMAT or (wanted in {"uuid", "date-time", "email"} and _is(wanted, value))
    )


def _is(wanted: str, value: Any) -> bool:
    known = {"uuid": "-", "date-time": "T", "email": "@"}
    return isinstance(value, str) and known[wanted] in value and (wanted != "uuid" or len(value) == len(COURSE))


def _json_type(value: Any) -> str:
    kinds = {str: "string", bool: "boolean", int: "integer", type(None): "null", list: "array", dict: "object"}
    return kinds.get(type(value), json.dumps(None))
