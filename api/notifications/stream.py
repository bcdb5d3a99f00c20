"""The live stream of notifications: where it is, and tickets for browsers."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import marshmallow as ma
from flask import redirect, request
from flask.views import MethodView
from werkzeug import Response as BaseResponse

import settings
from api.auth import current_caller, public, require_auth
from api.schemas import Schema, Timestamp
from core import stream_tickets

from .blueprint import blp

PATH = "/v1/me/notifications/stream"


class StreamQuery(Schema):
    ticket = ma.fields.Str(
        validate=ma.validate.Regexp(r"[A-Za-z0-9_-]{43}\Z", error="A ticket."),
        metadata={"description": "In place of a token."},
    )
    last_event_id = ma.fields.Int(
        validate=ma.validate.Range(min=0, max=10**18),
        metadata={"description": "In place of `Last-Event-ID`, which a new EventSource does not send."},
    )


class StreamTicketSchema(Schema):
    ticket = ma.fields.Str()
    url = ma.fields.Str(metadata={"description": "The stream with the ticket, for `new EventSource(url)`."})
    expires_at = Timestamp(metadata={"description": "Until when the stream must be opened."})


@blp.route("/me/notifications/stream")
class NotificationStream(MethodView):
    @public
    @blp.arguments(StreamQuery, location="query")
    @blp.doc(operationId="streamNotifications")
    @blp.response(307)
    def get(self, query: dict[str, Any]) -> BaseResponse:
        """Stream notifications

        Redirects to a stream of server-sent events, which accepts the same tokens, or a ticket. Each `notification`
        event is a notification as in the list; send its id as `Last-Event-ID` to resume. A comment is sent after 15
        seconds without an event. The stream ends when the token expires. Without a token or a ticket it is a 401.
        """
        return redirect(f"{settings.STREAM_URL}{request.path}{f'?{urlencode(query)}' if query else ''}", 307)


@blp.route("/me/notifications/stream-ticket")
class StreamTicket(MethodView):
    @require_auth(returns_secret=True)
    @blp.doc(operationId="createStreamTicket")
    @blp.response(201, StreamTicketSchema)
    def post(self) -> Any:
        """Create a ticket for the stream

        For a browser, whose EventSource sends no headers. A ticket opens one stream within 30 seconds. When the stream
        has ended, create a new ticket and open it with `last_event_id`.
        """
        claims = current_caller().claims
        current_caller().account.require_not_blocked()
        holder = stream_tickets.TicketHolder(sub=claims.sub, issued_at=claims.issued_at, expires_at=claims.expires_at)
        ticket = stream_tickets.issue(holder)
        return {
            "ticket": ticket,
            "url": f"{settings.STREAM_URL}{PATH}?{urlencode({'ticket': ticket})}",
            "expires_at": (datetime.now(UTC) + timedelta(seconds=stream_tickets.TTL_SECONDS)).isoformat(),
        }
