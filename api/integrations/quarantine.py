"""Quarantined events: Kafka permanently rejects them. Each service stores its own and returns them on request."""

import re
from typing import Any

import marshmallow as ma
from flask.views import MethodView

import settings
from api.auth import require_auth
from api.pagination import Page, PageQuery, page_response, page_schema
from api.rpc import call
from api.schemas import Schema, Timestamp
from models.commands import ListQuarantined, ReleaseQuarantined
from models.errors import NotFound

from .blueprint import blp
from .listing import list_across_services

_ID = re.compile(r"([a-z]+)-([0-9]{1,18})")


class QuarantinedEventSchema(Schema):
    id = ma.fields.Str(metadata={"description": "The service of the event, and a number."})
    event_id = ma.fields.UUID()
    event_type = ma.fields.Str()
    key = ma.fields.Str(metadata={"description": "Later events of the key wait behind this one."})
    reason = ma.fields.Str(metadata={"description": "Kafka's error and its meaning."})
    parked = ma.fields.Int(metadata={"description": "Number of later events of the key."})
    created_at = Timestamp()
    failed_at = Timestamp()


class ReleasedSchema(Schema):
    released = ma.fields.Int(metadata={"description": "Number of events that will be published, in order."})


@blp.route("/quarantined-events")
class QuarantinedEvents(MethodView):
    @require_auth("ops:admin", machines=True)
    @blp.arguments(PageQuery, location="query")
    @blp.doc(operationId="listQuarantinedEvents")
    @blp.response(200, page_schema(QuarantinedEventSchema))
    def get(self, query: dict[str, Any]) -> Page:
        """List quarantined events

        Events that Kafka permanently rejected, ordered by service, then oldest first.
        """
        items, is_last = list_across_services(ListQuarantined, **query)
        return page_response({"items": items, "next": None if is_last else _parse_id(items[-1]["id"])})


@blp.route("/quarantined-events/<event_id>/release")
class QuarantinedEventRelease(MethodView):
    @require_auth("ops:admin", machines=True)
    @blp.doc(operationId="releaseQuarantinedEvent")
    @blp.response(200, ReleasedSchema)
    def post(self, event_id: str) -> Any:
        """Release a quarantined event

        Publishes it and the later events of its key. Events that are rejected again return to quarantine.
        """
        service, seq = _parse_id(event_id)
        return call(ReleaseQuarantined(service=service, seq=seq))


def _parse_id(event_id: str) -> tuple[str, int]:
    match = _ID.fullmatch(event_id)
    if match is None or match[1] not in settings.SERVICES:
        raise NotFound("quarantined event", event_id)
    return match[1], int(match[2])
