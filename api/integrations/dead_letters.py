"""Dead letters: events that a handler could not process. Each service stores its own and returns them on request."""

import re
from typing import Any

import marshmallow as ma
from flask.views import MethodView

import settings
from api.auth import require_auth
from api.pagination import Page, PageQuery, page_response, page_schema
from api.rpc import call
from api.schemas import Schema, Timestamp
from models.commands import ListDeadLetters, ReplayDeadLetters
from models.errors import NotFound

from .blueprint import blp
from .listing import list_across_services

_ID = re.compile(r"([a-z]+)-([0-9]{1,18})")


class DeadLetterQuery(PageQuery):
    status = ma.fields.Str(load_default="open", validate=ma.validate.OneOf(["open", "replayed", "discarded"]))


class DeadLetterSchema(Schema):
    id = ma.fields.Str(metadata={"description": "The service of the handler, and a number."})
    handler = ma.fields.Str()
    event_id = ma.fields.UUID()
    event_type = ma.fields.Str()
    key = ma.fields.Str(metadata={"description": "Later events of the key wait behind this one."})
    status = ma.fields.Str()
    reason = ma.fields.Str()
    created_at = Timestamp()
    closed_at = Timestamp(allow_none=True)


class FailedReplaySchema(Schema):
    id = ma.fields.Str()
    error = ma.fields.Str()


class DeadLetterReplayResultSchema(Schema):
    replayed = ma.fields.List(ma.fields.Str())
    failed = ma.fields.Nested(FailedReplaySchema, allow_none=True)
    remaining = ma.fields.Int(
        metadata={"description": "Number of dead letters still open. If failed is null, repeat the request."}
    )


@blp.route("/dead-letters")
class DeadLetters(MethodView):
    @require_auth("ops:admin", machines=True)
    @blp.arguments(DeadLetterQuery, location="query")
    @blp.doc(operationId="listDeadLetters")
    @blp.response(200, page_schema(DeadLetterSchema))
    def get(self, query: dict[str, Any]) -> Page:
        """List dead letters

        Ordered by service, then oldest first.
        """
        items, is_last = list_across_services(ListDeadLetters, **query)
        return page_response({"items": items, "next": None if is_last else _parse_id(items[-1]["id"])})


@blp.route("/dead-letters/<dead_letter_id>/replay")
class DeadLetterReplay(MethodView):
    @require_auth("ops:admin", machines=True)
    @blp.doc(operationId="replayDeadLetter")
    @blp.response(200, DeadLetterReplayResultSchema)
    def post(self, dead_letter_id: str) -> Any:
        """Replay dead letters

        Redelivers the open dead letters of this key to their handler in order, until one fails.
        """
        service, seq = _parse_id(dead_letter_id)
        return call(ReplayDeadLetters(service=service, seq=seq))


def _parse_id(dead_letter_id: str) -> tuple[str, int]:
    match = _ID.fullmatch(dead_letter_id)
    if match is None or match[1] not in settings.SERVICES:
        raise NotFound("dead letter", dead_letter_id)
    return match[1], int(match[2])
