"""OpenAPI description of outgoing webhooks: one for each event type in models/events/."""

from typing import Any

import msgspec

from models.events import PII_FIELDS, all_event_types

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
        "type": {**_TEXT, "description": "The name of the event."},
        "subject": {**_TEXT, "description": "Id of the aggregate; sequence counts its events: 1, 2, 3 …"},
        "time": {"type": "string", "format": "date-time"},
        "datacontenttype": {"type": "string", "const": "application/json"},
        "dataschema": {"type": "string", "format": "uri"},
        "sequence": {"type": "string", "pattern": "^[0-9]+$"},
        "correlationid": {**_TEXT, "description": "The X-Request-Id of the request that caused the event."},
        "position": {"type": "string", "pattern": "^[0-9]+$", "description": "Its position in GET /v1/events."},
        "data": {"type": "object"},
    },
    "required": [
        *("specversion", "id", "source", "type", "subject", "time"),
        *("datacontenttype", "dataschema", "sequence", "position", "data"),
    ],
}


def add_webhooks(spec: dict[str, Any]) -> None:
    """Add the webhooks and the schemas of their events to an OpenAPI document. Personal fields are left out."""
    _, schemas = msgspec.json.schema_components(
        list(all_event_types()), ref_template="#/components/schemas/Event.{name}"
    )
    for each in schemas.values():
        each.pop("title", None)
        each["properties"] = {name: part for name, part in each["properties"].items() if name not in PII_FIELDS}
        each["required"] = [name for name in each.get("required", ()) if name not in PII_FIELDS]
    payload_names = {event.__name__ for event in all_event_types()}
    used = {name: part for name, part in schemas.items() if name in payload_names or f"/Event.{name}'" in str(schemas)}
    spec["components"]["schemas"] |= {f"Event.{name}": part for name, part in used.items()} | {"Event": _ENVELOPE}
    spec["components"]["parameters"] |= {
        header: {"name": header, "in": "header", "required": True, "description": what, "schema": _TEXT}
        for header, what in _HEADERS.items()
    }
    spec["components"]["responses"] |= _RESPONSES
    spec["webhooks"] = {event.type: {"post": _operation(event.type, event.__name__)} for event in all_event_types()}


def _operation(type_: str, name: str) -> dict[str, Any]:
    event_fields = {"type": {"const": type_}, "data": {"$ref": f"#/components/schemas/Event.{name}"}}
    schema = {"allOf": [{"$ref": "#/components/schemas/Event"}, {"properties": event_fields}]}
    return {
        "operationId": f"webhook_{type_.lower()}",
        "summary": f"Sent to webhook endpoints that subscribe to {type_}.",
        "tags": ["outgoing webhooks"],
        "security": [],
        "parameters": [{"$ref": f"#/components/parameters/{header}"} for header in _HEADERS],
        "requestBody": {"required": True, "content": {"application/cloudevents+json": {"schema": schema}}},
        "responses": {
            status: {"$ref": f"#/components/responses/{name}"} for status, name in _RESPONSE_BY_STATUS.items()
        },
    }
