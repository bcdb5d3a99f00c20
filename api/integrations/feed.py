"""The event feed: the events of all services, which other systems poll."""

from typing import Any

import marshmallow as ma
from flask.views import MethodView

from api.auth import requires
from api.pages import LIMIT_MAX
from api.queue import ask
from api.schemas import Schema, Timestamp

from .blueprint import blp

_POSITION = ma.validate.Regexp(r"[0-9]{1,18}\Z", error="A position of the feed.")


class FeedQuery(Schema):
    after = ma.fields.Str(
        load_default="0",
        validate=_POSITION,
        metadata={
            "description": "next_after of the answer before, or the position of an event. Without: all there is."
        },
    )
    limit = ma.fields.Int(load_default=LIMIT_MAX, validate=ma.validate.Range(min=1, max=1000))
    types = ma.fields.List(
        ma.fields.Str(validate=ma.validate.Length(min=1, max=100)),
        data_key="type",
        load_default=list,
        metadata={"description": "Events of these types only; may be given several times."},
    )


class CloudEventSchema(Schema):
    """An event as CloudEvents 1.0. Its id is the same in the feed and in webhooks."""

    specversion = ma.fields.Str()
    id = ma.fields.UUID()
    source = ma.fields.Str(metadata={"description": "/ and the service that tells it."})
    type = ma.fields.Str(metadata={"example": "COURSE_PURCHASED"})
    subject = ma.fields.Str(metadata={"description": "What it happened to; events of one subject come in their order."})
    time = Timestamp()
    datacontenttype = ma.fields.Str()
    dataschema = ma.fields.Str()
    sequence = ma.fields.Str(metadata={"description": "Counts the events of a subject."})
    correlationid = ma.fields.Str(metadata={"description": "The X-Request-Id of the request that began it."})
    position = ma.fields.Str(metadata={"description": "Its place in the feed."})
    data = ma.fields.Dict(metadata={"description": "As dataschema says. Nobody is named in it: users have ids."})


class FeedPageSchema(Schema):
    items = ma.fields.List(ma.fields.Nested(CloudEventSchema))
    next_after = ma.fields.Str(metadata={"description": "Ask with it the next time, now or later."})
    has_more = ma.fields.Bool(metadata={"description": "Whether there is more already."})


@blp.route("/events")
class Events(MethodView):
    @requires("ops:admin", machines=True)
    @blp.arguments(FeedQuery, location="query")
    @blp.response(200, FeedPageSchema)
    @blp.alt_response(410, "Problem410")
    def get(self, query: dict[str, Any]) -> Any:
        """List events

        Returns the events of all services, each exactly once, in a fixed order.
        """
        return ask("integrations.list_events", after=int(query["after"]), types=query["types"], limit=query["limit"])
