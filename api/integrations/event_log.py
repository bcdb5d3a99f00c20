"""The event feed: the events of all services, which other systems poll."""

from typing import Any

import marshmallow as ma
from flask.views import MethodView

from api.auth import require_auth
from api.pagination import LIMIT_MAX
from api.rpc import call
from api.schemas import Schema, Timestamp
from models.commands import ListEvents

from .blueprint import blp

_POSITION = ma.validate.Regexp(r"[0-9]{1,18}\Z", error="Must be a position in the event feed.")


class EventFeedQuery(Schema):
    after = ma.fields.Str(
        load_default="0",
        validate=_POSITION,
        metadata={
            "description": "next_after of the previous response, or the position of an event. Default: the start."
        },
    )
    limit = ma.fields.Int(load_default=LIMIT_MAX, validate=ma.validate.Range(min=1, max=1000))
    types = ma.fields.List(
        ma.fields.Str(validate=ma.validate.Length(min=1, max=100)),
        data_key="type",
        load_default=list,
        metadata={"description": "Only events of these types; may be repeated."},
    )


class CloudEventSchema(Schema):
    """An event as CloudEvents 1.0. Its id is the same in the feed and in webhooks."""

    specversion = ma.fields.Str()
    id = ma.fields.UUID()
    source = ma.fields.Str(metadata={"description": "/ and the service that publishes the event."})
    type = ma.fields.Str(metadata={"example": "COURSE_PURCHASED"})
    subject = ma.fields.Str(metadata={"description": "Id of the aggregate; events of one subject are in order."})
    time = Timestamp()
    datacontenttype = ma.fields.Str()
    dataschema = ma.fields.Str()
    sequence = ma.fields.Str(metadata={"description": "Number of the event within its subject."})
    correlationid = ma.fields.Str(metadata={"description": "The X-Request-Id of the request that caused the event."})
    position = ma.fields.Str(metadata={"description": "Its position in the feed."})
    data = ma.fields.Dict(
        metadata={"description": "As defined by dataschema. Contains no personal data, only user ids."}
    )


class EventFeedPageSchema(Schema):
    items = ma.fields.List(ma.fields.Nested(CloudEventSchema))
    next_after = ma.fields.Str(metadata={"description": "Pass it as after in the next request."})
    has_more = ma.fields.Bool(metadata={"description": "Whether more events are available now."})


@blp.route("/events")
class Events(MethodView):
    @require_auth("ops:admin", machines=True)
    @blp.arguments(EventFeedQuery, location="query")
    @blp.response(200, EventFeedPageSchema)
    @blp.alt_response(410, "Problem410")
    def get(self, query: dict[str, Any]) -> Any:
        """List events

        Returns the events of all services, each exactly once, in a fixed order.
        """
        return call(ListEvents(after=int(query["after"]), types=query["types"], limit=query["limit"]))
