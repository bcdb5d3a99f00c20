"""Request traces for operators: the events that a request has caused, and what their handlers have done."""

from typing import Any

import marshmallow as ma
from flask.views import MethodView

from api.auth import require_auth
from api.pagination import Page, PageQuery, page_response, page_schema
from api.rpc import call
from api.schemas import Schema, Timestamp
from models.commands import ListTracedRequests, ShowRequestTrace

from .blueprint import blp

HANDLER_STATES = ["waiting", "handled", "failing", "dead_letter", "discarded", "unknown"]


class TracedHandlerSchema(Schema):
    handler = ma.fields.Str()
    state = ma.fields.Str(
        validate=ma.validate.OneOf(HANDLER_STATES),
        metadata={
            "description": "`waiting`: has not run. `failing`: has failed and is tried again. `dead_letter`: was given "
            "up; replay it. `discarded`: an operator discarded it. `unknown`: too long ago to know."
        },
    )
    at = Timestamp(allow_none=True, metadata={"description": "When it reached this state."})
    attempts = ma.fields.Int(allow_none=True, metadata={"description": "Number of attempts that have failed."})
    dead_letter_id = ma.fields.Str(allow_none=True)
    reason = ma.fields.Str(allow_none=True, metadata={"description": "Why the event became a dead letter."})


class TracedEventSchema(Schema):
    id = ma.fields.UUID()
    type = ma.fields.Str(metadata={"example": "COURSE_PURCHASED"})
    service = ma.fields.Str(metadata={"description": "The service that recorded the event."})
    key = ma.fields.Str(metadata={"description": "Events of one key are handled in order."})
    version = ma.fields.Int(metadata={"description": "Position among the events of the key, from 1."})
    task = ma.fields.Str(allow_none=True, metadata={"description": "The task that recorded the event."})
    actor = ma.fields.Str(
        allow_none=True, metadata={"description": "`user:<id>` of staff or `client:<id>`; null for the person itself."}
    )
    caused_by = ma.fields.Str(
        allow_none=True, metadata={"description": "Id of the event or of the command that led to this event."}
    )
    queued_at = Timestamp(allow_none=True, metadata={"description": "When the message of the task was sent."})
    recorded_at = Timestamp(metadata={"description": "When the task wrote the event to the outbox."})
    published_at = Timestamp(allow_none=True, metadata={"description": "When Kafka had accepted the event."})
    quarantined_at = Timestamp(allow_none=True, metadata={"description": "When Kafka refused the event for good."})
    quarantine_reason = ma.fields.Str(allow_none=True)
    handlers = ma.fields.List(ma.fields.Nested(TracedHandlerSchema))


class RequestTraceSchema(Schema):
    request_id = ma.fields.Str()
    events = ma.fields.List(ma.fields.Nested(TracedEventSchema), metadata={"description": "Oldest first."})
    truncated = ma.fields.Bool(metadata={"description": "Whether the request has caused more events than are shown."})


class TracedRequestQuery(PageQuery):
    key = ma.fields.Str(
        load_default=None,
        validate=ma.validate.Regexp(r"[0-9A-Za-z:_.-]{1,200}\Z", error="Give the key of an event."),
        metadata={"description": "Key of the events: the id of an order or a course, or <user id>:<course id>."},
    )
    user_id = ma.fields.UUID(
        load_default=None, metadata={"description": "Events about this person that the event feed still has."}
    )

    @ma.validates_schema
    def _has_one_filter(self, data: dict[str, Any], **_: Any) -> None:
        if (data["key"] is None) == (data["user_id"] is None):
            raise ma.ValidationError("Give either key or user_id.", "key")


class TracedRequestSchema(Schema):
    request_id = ma.fields.Str()
    event_types = ma.fields.List(
        ma.fields.Str(), metadata={"description": "Its events among those found, oldest first."}
    )
    first_event_at = Timestamp()


@blp.route("/request-traces")
class RequestTraces(MethodView):
    @require_auth("ops:admin", machines=True)
    @blp.arguments(TracedRequestQuery, location="query")
    @blp.doc(operationId="listTracedRequests")
    @blp.response(200, page_schema(TracedRequestSchema))
    def get(self, query: dict[str, Any]) -> Page:
        """List requests that caused events

        The requests behind the events of an object or about a person, newest first. `limit` is the number of events
        that are looked at, so a page may have fewer requests.
        """
        return page_response(call(ListTracedRequests(**query)))


@blp.route("/request-traces/<request_id>")
class RequestTrace(MethodView):
    @require_auth("ops:admin", machines=True)
    @blp.doc(operationId="getRequestTrace")
    @blp.response(200, RequestTraceSchema)
    def get(self, request_id: str) -> Any:
        """Retrieve the trace of a request

        The events that the request with this `X-Request-Id` has caused, directly or through other events: when each
        was recorded and published, and what each of its handlers has done.
        """
        return call(ShowRequestTrace(request_id=request_id))
