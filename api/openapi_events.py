"""OpenAPI description of events, as in the feed and in outgoing webhooks: one for each type in models/events/."""

from typing import Any

import msgspec

from models.events import PII_FIELDS, EventClass, all_event_types

_HEADERS = {
    "webhook-id": "The event's id, the same in every attempt.",
    "webhook-timestamp": "Unix time in seconds at which this attempt was signed.",
    "webhook-signature": "v1, and a base64 HMAC-SHA256 of id.timestamp.body; two during a secret rotation.",
}
_RESPONSE_BY_STATUS = {"2XX": "WebhookAccepted", "410": "WebhookEndpointGone"}
_RESPONSES = {
    "WebhookAccepted": {"description": "Accepted. Any other status, or no response within ten seconds, is retried."},
    "WebhookEndpointGone": {"description": "The endpoint is disabled and receives no more webhooks."},
}
_TEXT = {"type": "string"}
_ENVELOPE = {
    "type": "object",
    "description": "CloudEvents 1.0.",
    "properties": {
        "specversion": {"type": "string", "const": "1.0"},
        "id": {"type": "string", "format": "uuid"},
        "source": {**_TEXT, "description": "/ and the service that publishes the event."},
        "subject": {**_TEXT, "description": "Id of the aggregate; sequence counts its events: 1, 2, 3 …"},
        "time": {"type": "string", "format": "date-time"},
        "datacontenttype": {"type": "string", "const": "application/json"},
        "dataschema": {"type": "string", "format": "uri"},
        "sequence": {"type": "string", "pattern": "^[0-9]+$"},
        "correlationid": {**_TEXT, "description": "The X-Request-Id of the request that caused the event."},
        "position": {"type": "string", "pattern": "^[0-9]+$", "description": "Its position in GET /v1/events."},
    },
    "required": [
        *("specversion", "id", "source", "subject", "time"),
        *("datacontenttype", "dataschema", "sequence", "position"),
    ],
}


def add_events(spec: dict[str, Any]) -> None:
    """Add the events, the feed that lists them and the webhooks that carry them to an OpenAPI document.

    Personal fields are left out, because neither the feed nor webhooks contain them.
    """
    _, payloads = msgspec.json.schema_components(list(all_event_types()), ref_template=_REFERENCE)
    for each in payloads.values():
        each.pop("title", None)
        each["properties"] = {name: part for name, part in each["properties"].items() if name not in PII_FIELDS}
        each["required"] = [name for name in each.get("required", ()) if name not in PII_FIELDS]
    names = {event.__name__ for event in all_event_types()}
    used = {name: part for name, part in payloads.items() if name in names or _refers_to(payloads, name)}
    schemas = spec["components"]["schemas"]
    schemas |= used | {f"{event.__name__}Event": _event(event) for event in all_event_types()}
    schemas |= {"EventEnvelope": _ENVELOPE, "Event": _any_event()}
    schemas["EventFeedPage"]["properties"]["items"] = {"type": "array", "items": _reference("Event")}
    spec["components"]["parameters"] |= {
        header: {"name": header, "in": "header", "required": True, "description": what, "schema": _TEXT}
        for header, what in _HEADERS.items()
    }
    spec["components"]["responses"] |= _RESPONSES
    spec["webhooks"] = {event.type: {"post": _operation(event)} for event in all_event_types()}


_REFERENCE = "#/components/schemas/{name}"


def _reference(name: str) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(name=name)}


def _refers_to(payloads: dict[str, Any], name: str) -> bool:
    """Return whether a payload contains ``name`` outside its personal fields."""
    return repr(_reference(name)["$ref"]) in str(payloads)


def _event(event: EventClass) -> dict[str, Any]:
    fields = {"type": {**_TEXT, "const": event.type}, "data": _reference(event.__name__)}
    own = {"type": "object", "properties": fields, "required": list(fields)}
    return {"allOf": [_reference("EventEnvelope"), own], "description": (event.__doc__ or "").partition("\n")[0]}


def _any_event() -> dict[str, Any]:
    names = {event.type: f"{event.__name__}Event" for event in all_event_types()}
    mapping = {type_: _reference(name)["$ref"] for type_, name in names.items()}
    return {
        "description": "An event as CloudEvents 1.0. Later versions may add types.",
        "oneOf": [_reference(name) for name in names.values()],
        "discriminator": {"propertyName": "type", "mapping": mapping},
    }


def _operation(event: EventClass) -> dict[str, Any]:
    schema = _reference(f"{event.__name__}Event")
    return {
        "operationId": f"receive{event.__name__}",
        "summary": f"Sent to webhook endpoints that subscribe to {event.type}.",
        "tags": ["outgoing webhooks"],
        "security": [],
        "parameters": [{"$ref": f"#/components/parameters/{header}"} for header in _HEADERS],
        "requestBody": {"required": True, "content": {"application/cloudevents+json": {"schema": schema}}},
        "responses": {
            status: {"$ref": f"#/components/responses/{name}"} for status, name in _RESPONSE_BY_STATUS.items()
        },
    }
