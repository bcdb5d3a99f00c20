"""Dead letters: events that a handler could not process. Each service stores its own and returns them on request."""

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


class DeadLetterQuery(PageQuery):
    status = ma.fields.Str(load_default="open", validate=ma.validate.OneOf(["open", "replayed", "discarded"]))


class DeadLetterSchema(Schema):
    id = ma.fields.Str(metadata={"description": "The service that could not take it, and a number."})
    handler = ma.fields.Str()
    event_id = ma.fields.UUID()
    event_type = ma.fields.Str()
    key = ma.fields.Str(metadata={"description": "Later events of it wait behind this one."})
    status = ma.fields.Str()
    reason = ma.fields.Str()
    created_at = Timestamp()
    closed_at = Timestamp(allow_none=True)


class FailedReplaySchema(Schema):
    id = ma.fields.Str()
    error = ma.fields.Str()


class LettersReplayedSchema(Schema):
    replayed = ma.fields.List(ma.fields.Str())
    failed = ma.fields.Nested(FailedReplaySchema, allow_none=True)
    left = ma.fields.Int(metadata={"description": "Still open. Without a failure: ask again."})


@blp.route("/dead-letters")
class DeadLetters(MethodView):
    @requires("ops:admin", machines=True)
    @blp.arguments(DeadLetterQuery, location="query")
    @blp.response(200, page_of(DeadLetterSchema))
    def get(self, query: dict[str, Any]) -> Page:
        """List dead letters

        Ordered by service, then oldest first.
        """
        items, is_last = items_of_services("list_dead_letters", **query)
        return page({"items": items, "next": None if is_last else _parts(items[-1]["id"])})


@blp.route("/dead-letters/<letter_id>/replay")
class DeadLetterReplay(MethodView):
    @requires("ops:admin", machines=True)
    @blp.response(200, LettersReplayedSchema)
    def post(self, letter_id: str) -> Any:
        """Replay dead letters

        Redelivers the open dead letters of this key to their handler in order, until one fails.
        """
        service, seq = _parts(letter_id)
        return ask(f"{service}.replay_dead_letters", service=service, seq=seq)


def _parts(letter_id: str) -> tuple[str, int]:
    named = _ID.fullmatch(letter_id)
    if named is None or named[1] not in settings.SERVICES:
        raise NotFound("dead letter", letter_id)
    return named[1], int(named[2])
