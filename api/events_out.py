"""OpenAPI description of outgoing webhooks: one for each event type in models/events/."""

from typing import Any

import msgspec

from models.events import PERSONAL, every_event

_HEADERS = {
    "webhook-id": "The event's id: the same however often it comes.",
    "webhook-timestamp": "When this attempt was signed, in seconds since 1970.",
    "webhook-signature": "v1, and an HMAC-SHA256 of id.timestamp.body in base64; two while a secret is changed.",
}
_ANSWERS = {"2XX": "WebhookTaken", "410": "WebhookEndpointGone"}
_RESPONSES = {
    "WebhookTaken": {"description": "It was taken. Anything else, or nothing within ten seconds, has it come again."},
    "WebhookEndpointGone": {"description": "Nothing is to be pushed there any more: the endpoint is disabled."},
}
_TEXT = {"type": "string"}
_ENVELOPE = {
    "type": "object",
    "description": "CloudEvents 1.0.",
    "properties": {
        "specversion": {"type": "string", "const": "1.0"},
        "id": {"type": "string", "format": "uuid"},
        "source": {**_TEXT, "description": "/ and the service that tells it."},
        "type": {**_TEXT, "description": "The name of the event."},
        "subject": {**_TEXT, "description": "What it is about; sequence counts 1, 2, 3 … for each."},
        "time": {"type": "string", "format": "date-time"},
        "datacontenttype": {"type": "string", "const": "application/json"},
        "dataschema": {"type": "string", "format": "uri"},
        "sequence": {"type": "string", "pattern": "^[0-9]+$"},
        "correlationid": {**_TEXT, "description": "The X-Request-Id of the request that began it."},
        "position": {"type": "string", "pattern": "^[0-9]+$", "description": "Its place in GET /v1/events."},
        "data": {"type": "object"},
    },
    "required": [
        *("specversion", "id", "source", "type", "subject", "time"),
        *("datacontenttype", "dataschema", "sequence", "position", "data"),
    ],
}


def add_to(spec: dict[str, Any]) -> None:
    """Add the webhooks and the schemas of their events to an OpenAPI document. Personal fields are left out."""
    _, schemas = msgspec.json.schema_components(list(every_event()), ref_template="#/components/schemas/Event.{name}")
    for each in schemas.values():
        each.pop("title", None)
        each["properties"] = {name: part for name, part in each["properties"].items() if name not in PERSONAL}
        each["required"] = [name for name in each.get("required", ()) if name not in PERSONAL]
    told = {event.__name__ for event in every_event()}
    named = {name: part for name, part in schemas.items() if name in told or f"/Event.{name}'" in str(schemas)}
    spec["components"]["schemas"] |= {f"Event.{name}": part for name, part in named.items()} | {"Event": _ENVELOPE}
    spec["components"]["parameters"] |= {
        header: {"name": header, "in": "header", "required": True, "description": what, "schema": _TEXT}
        for header, what in _HEADERS.items()
    }
    spec["components"]["responses"] |= _RESPONSES
    spec["webhooks"] = {event.type: {"post": _operation(event.type, event.__name__)} for event in every_event()}


def _operation(type_: str, name: str) -> dict[str, Any]:
    told = {"type": {"const": type_}, "data": {"$ref": f"#/components/schemas/Event.{name}"}}
    schema = {"allOf": [{"$ref": "#/components/schemas/Event"}, {"properties": told}]}
    return {
        "operationId": f"told_of_{type_.lower()}",
        "summary": f"Pushed to the endpoints that listen to {type_}.",
        "tags": ["webhooks out"],
        "security": [],
        "parameters": [{"$ref": f"#/components/parameters/{header}"} for header in _HEADERS],
        "requestBody": {"required": True, "content": {"application/cloudevents+json": {"schema": schema}}},
        "responses": {status: {"$ref": f"#/components/responses/{name}"} for status, name in _ANSWERS.items()},
    }
