"""The event feed: the events of all services, which other systems poll."""

from typing import Any

import marshmallow as ma
from flask.views import MethodView

from api.auth import require_auth
from api.pagination import LIMIT_MAX
from api.rpc import call
from api.schemas import Schema
from models.commands import ListEvents

from .blueprint import blp

_LATEST = "latest"
_POSITION = ma.validate.Regexp(
    rf"([0-9]{{1,18}}|{_LATEST})\Z", error="Must be a position in the event feed, or latest."
)


class EventFeedQuery(Schema):
    after = ma.fields.Str(
        load_default="0",
        validate=_POSITION,
        metadata={
            "description": "next_after of the previous response, or the position of an event. Default: the start. "
            "`latest`: no event, and the present end as next_after."
        },
    )
    limit = ma.fields.Int(load_default=LIMIT_MAX, validate=ma.validate.Range(min=1, max=1000))
    types = ma.fields.List(
        ma.fields.Str(validate=ma.validate.Length(min=1, max=100)),
        data_key="type",
        load_default=list,
        metadata={"description": "Only events of these types; may be repeated."},
    )


class EventFeedPageSchema(Schema):
    items = ma.fields.List(ma.fields.Dict())  # CloudEvents, described by api/openapi_events.py
    next_after = ma.fields.Str(metadata={"description": "Pass it as after in the next request."})
    has_more = ma.fields.Bool(metadata={"description": "Whether more events are available now."})


@blp.route("/events")
class Events(MethodView):
    @require_auth("ops:admin", machines=True)
    @blp.arguments(EventFeedQuery, location="query")
    @blp.doc(operationId="listEvents")
    @blp.response(200, EventFeedPageSchema)
    @blp.alt_response(410, "Problem410")
    def get(self, query: dict[str, Any]) -> Any:
        """List events

        Returns the events of all services, each exactly once, in a fixed order.
        """
        after = None if query["after"] == _LATEST else int(query["after"])
        return call(ListEvents(after=after, types=query["types"], limit=query["limit"]))
