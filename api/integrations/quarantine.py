"""Quarantined events: Kafka permanently rejects them. Each service stores its own and returns them on request."""

import re
from typing import Any

import marshmallow as ma
from flask.views import MethodView

import settings
from api.auth import requires
from api.pages import Page, PageQuery, page, page_of
from api.queue import ask
from api.schemas import Schema, Timestamp
from models.errors import NotFound

from .blueprint import blp
from .listing import items_of_services

_ID = re.compile(r"([a-z]+)-([0-9]{1,18})")


class QuarantinedEventSchema(Schema):
    id = ma.fields.Str(metadata={"description": "The service of the event, and a number."})
    event_id = ma.fields.UUID()
    event_type = ma.fields.Str()
    key = ma.fields.Str(metadata={"description": "Later events of the key wait behind this one."})
    reason = ma.fields.Str(metadata={"description": "Kafka's error and what it means."})
    waiting = ma.fields.Int(metadata={"description": "Later events of the key."})
    created_at = Timestamp()
    failed_at = Timestamp()


class ReleasedSchema(Schema):
    released = ma.fields.Int(metadata={"description": "Events that will be published, in their order."})


@blp.route("/quarantined-events")
class QuarantinedEvents(MethodView):
    @requires("ops:admin", machines=True)
    @blp.arguments(PageQuery, location="query")
    @blp.response(200, page_of(QuarantinedEventSchema))
    def get(self, query: dict[str, Any]) -> Page:
        """List quarantined events

        Events that Kafka permanently rejected, ordered by service, then oldest first.
        """
        items, is_last = items_of_services("list_quarantined", **query)
        return page({"items": items, "next": None if is_last else _parts(items[-1]["id"])})


@blp.route("/quarantined-events/<event_id>/release")
class QuarantinedEventRelease(MethodView):
    @requires("ops:admin", machines=True)
    @blp.response(200, ReleasedSchema)
    def post(self, event_id: str) -> Any:
        """Release a quarantined event

        Publishes it and the later events of its key. Events that are rejected again return to quarantine.
        """
        service, seq = _parts(event_id)
        return ask(f"{service}.release_quarantined", service=service, seq=seq)


def _parts(event_id: str) -> tuple[str, int]:
    named = _ID.fullmatch(event_id)
    if named is None or named[1] not in settings.SERVICES:
        raise NotFound("quarantined event", event_id)
    return named[1], int(named[2])
