"""Write the documentation of the events for consumers from models/events/: ``python -m ops.generate_schemas``.

docs/schemas/<TYPE>/<version>.json          the JSON Schema of each payload
docs/schemas/<TYPE>/<version>.public.json   the part that integrators receive, if it is less than the payload
docs/asyncapi.json                          an AsyncAPI 3 document of all topics, events and handlers

A published schema is stable within its version: a payload may only gain attributes with a default. A breaking change
requires an increment of the event's ``schema_version``.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from models.events import PII_FIELDS, EventClass, all_event_types
from models.events.routes import ROUTES, producers_of
from settings import ROOT, SERVICES

DOCS = ROOT / "docs"
Document = dict[str, Any]

_DOCUMENTATION_KEYS = {"title", "description"}  # ignored when schemas are compared
_OBJECT_KEYS = {"properties", "required"}


def documents() -> dict[Path, Document]:
    """Return every document by its path below docs/."""
    schemas = {_path(event): schema_of(event) for event in all_event_types()}
    public = {_path(event).with_suffix(".public.json"): public_schema_of(event) for event in all_event_types()}
    public_only = {path: schema for path, schema in public.items() if schema}
    return {**schemas, **public_only, Path("asyncapi.json"): asyncapi()}


def schema_of(event: EventClass) -> Document:
    """Return the JSON Schema of an event's payload."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"https://coursebus.dev/schemas/{event.type}/{event.schema_version}",
        **msgspec.json.schema(event),
    }


def public_schema_of(event: EventClass) -> Document | None:
    """Return the JSON Schema of the payload that integrators receive; None if it is the whole payload."""
    schema = schema_of(event)
    payload = schema["$defs"].pop(event.__name__)
    if not payload["properties"].keys() & set(PII_FIELDS):
        return None
    kept = {name: value for name, value in payload["properties"].items() if name not in PII_FIELDS}
    required = [name for name in payload["required"] if name in kept]
    # Omit definitions that only personal data refers to.
    words = json.dumps(kept)
    defs = {name: part for name, part in schema["$defs"].items() if f'"#/$defs/{name}"' in words}
    defs[event.__name__] = {**payload, "properties": kept, "required": required}
    return {**schema, "$id": f"{schema['$id']}/public", "$defs": defs}


def asyncapi() -> Document:
    """Return the AsyncAPI document of all topics and events with their producers and handlers."""
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Coursebus events", "version": "1", "description": _ENVELOPE_DESCRIPTION},
        "defaultContentType": "application/json",
        "channels": {service: _channel(service) for service in SERVICES},
        "operations": {**dict(_send_operations()), **dict(_receive_operations())},
        "components": {
            "messages": {event.type: _message(event) for event in all_event_types()},
            "schemas": {"CloudEvent": _HEADERS},
        },
    }


def breaking_changes(old: Document, new: Document) -> list[str]:
    """Return the incompatibilities between two schemas in either direction; empty if both sides can read each other."""
    return list(_iter_breaking_changes(_resolve_references(old), _resolve_references(new), at=""))


def main() -> None:
    """Write the documents. Raises SystemExit for a breaking change of a published schema."""
    wanted = documents()
    broken = [
        f"docs/{path}: {fault}"
        for path, document in wanted.items()
        if path.name != "asyncapi.json" and (DOCS / path).exists()
        for fault in breaking_changes(json.loads((DOCS / path).read_text()), document)
    ]
    if broken:
        raise SystemExit("\n".join([*broken, "Increment schema_version, or keep the schema compatible."]))
    for path, document in wanted.items():
        (DOCS / path).parent.mkdir(parents=True, exist_ok=True)
        (DOCS / path).write_text(serialize(document))


def serialize(document: Document) -> str:
    """Return ``document`` as text for the file."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _path(event: EventClass) -> Path:
    return Path("schemas", event.type, f"{event.schema_version}.json")


def _channel(service: str) -> Document:
    types = [event.type for event in all_event_types() if service in producers_of(event.type)]
    return {
        "address": service,
        "description": f"Events of the {service} service, ordered by key.",
        "messages": {type_: {"$ref": f"#/components/messages/{type_}"} for type_ in types},
    }


def _message(event: EventClass) -> Document:
    schema = msgspec.json.schema(event)["$defs"][event.__name__]
    summary = {"summary": schema["description"]} if "description" in schema else {}
    return {
        "name": event.type,
        **summary,
        "contentType": "application/json",
        "headers": {"$ref": "#/components/schemas/CloudEvent"},
        "payload": {"$ref": str(_path(event))},
        "bindings": {"kafka": {"key": {"type": "string", "description": "The aggregate id, as in ce_subject."}}},
    }


def _send_operations() -> Iterator[tuple[str, Document]]:
    for service in SERVICES:
        yield f"{service}.publish", {"action": "send", "channel": {"$ref": f"#/channels/{service}"}}


def _receive_operations() -> Iterator[tuple[str, Document]]:
    subscriptions = sorted(
        {
            (handler, topic)
            for type_, handlers in ROUTES.items()
            for handler in handlers
            for topic in producers_of(type_)
        }
    )
    places = Counter(handler for handler, _ in subscriptions)
    for handler, topic in subscriptions:
        types = [type_ for type_, handlers in ROUTES.items() if handler in handlers and topic in producers_of(type_)]
        yield (
            handler if places[handler] == 1 else f"{handler}.{topic}",  # an AsyncAPI operation has exactly one channel
            {
                "action": "receive",
                "channel": {"$ref": f"#/channels/{topic}"},
                "messages": [{"$ref": f"#/channels/{topic}/messages/{type_}"} for type_ in types],
            },
        )


_ENVELOPE_DESCRIPTION = (
    "CloudEvents 1.0 in Kafka's binary mode: the headers are the envelope, the value is the payload. An event may be "
    "delivered more than once, always with the same ce_id; ce_sequence counts 1, 2, 3 … for each key."
)


def _text(description: str, **more: str) -> Document:
    return {"type": "string", "description": description, **more}


_HEADERS = {
    "type": "object",
    "properties": {
        "content-type": _text("application/json"),
        "ce_specversion": _text("1.0"),
        "ce_id": _text("A UUIDv7 that stays the same when the event is sent again.", format="uuid"),
        "ce_source": _text("A slash followed by the service that published the event."),
        "ce_type": _text("The type of the event."),
        "ce_subject": _text("The aggregate id."),
        "ce_time": _text("The time at which the event was recorded, in UTC.", format="date-time"),
        "ce_dataschema": _text("The $id of the schema of the payload.", format="uri"),
        "ce_partitionkey": _text("The same as ce_subject."),
        "ce_sequence": _text("The version of the aggregate after the event."),
        "ce_correlationid": _text(
            "The X-Request-Id of the request that caused the event, directly or through other events."
        ),
        "ce_causationid": _text("The id of the event or task that directly caused the event."),
        "traceparent": _text("The W3C trace context."),
    },
    "required": [
        *("content-type", "ce_specversion", "ce_id", "ce_source", "ce_type", "ce_subject", "ce_time"),
        *("ce_dataschema", "ce_partitionkey", "ce_sequence"),
    ],
}


def _resolve_references(document: Document) -> Any:
    """Return ``document`` with every reference replaced by its definition."""

    def resolved(part: Any) -> Any:
        if isinstance(part, dict):
            if "$ref" in part:
                return resolved(document["$defs"][part["$ref"].removeprefix("#/$defs/")])
            return {name: resolved(value) for name, value in part.items() if name not in _DOCUMENTATION_KEYS}
        return [resolved(each) for each in part] if isinstance(part, list) else part

    return resolved({"$ref": document["$ref"]})


def _iter_breaking_changes(old: Any, new: Any, *, at: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        if "properties" in old and "properties" in new:
            yield from _iter_breaking_object_changes(old, new, at=at)
            old, new = ({name: schema[name] for name in schema.keys() - _OBJECT_KEYS} for schema in (old, new))
        for name in sorted(old.keys() | new.keys()):
            yield from _iter_breaking_changes(old.get(name), new.get(name), at=f"{at}/{name}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _iter_breaking_changes(before, after, at=f"{at}/{number}")
    elif old != new:
        yield f"{at} was {old!r} and is {new!r}"


def _iter_breaking_object_changes(old: Document, new: Document, *, at: str) -> Iterator[str]:
    before, after = set(old.get("required", ())), set(new.get("required", ()))
    for name in sorted(before - after):
        yield f"{at}/{name} is no longer required, but readers rely on it"
    for name in sorted(after - before):
        yield f"{at}/{name} is required, but earlier events do not have it"
    for name in sorted(old["properties"].keys() & new["properties"].keys()):
        yield from _iter_breaking_changes(old["properties"][name], new["properties"][name], at=f"{at}/{name}")


if __name__ == "__main__":
    sys.exit(main())
