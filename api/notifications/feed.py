"""The caller's notification inbox."""

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import redirect, request
from flask.views import MethodView
from werkzeug import Response as BaseResponse

import settings
from api.auth import me, requires
from api.pages import Page, PageQuery, page, page_of
from api.queue import ask
from api.reads import cached_page
from api.schemas import Schema, Timestamp
from models.cache import notes_of

from .blueprint import blp


class NoteSchema(Schema):
    id = ma.fields.UUID()
    category = ma.fields.Str()
    title = ma.fields.Str()
    body = ma.fields.Str()
    data = ma.fields.Dict(metadata={"description": "The event that the note tells of: `event` and its fields."})
    created_at = Timestamp()
    seen_at = Timestamp(allow_none=True)
    read_at = Timestamp(allow_none=True)
    archived_at = Timestamp(allow_none=True)


class FeedQuery(PageQuery):
    unread = ma.fields.Bool(load_default=False)


class UnreadCountSchema(Schema):
    unread = ma.fields.Int()


@blp.route("/me/notifications")
class Feed(MethodView):
    @requires()
    @blp.arguments(FeedQuery, location="query")
    @blp.response(200, page_of(NoteSchema))
    def get(self, query: dict[str, Any]) -> Page:
        """List the caller's notifications

        Newest first, without archived ones.
        """
        return page(ask("notifications.list_notes", user_id=me().id, **query))


@blp.route("/me/notifications/unread-count")
class UnreadCount(MethodView):
    @requires()
    @cached_page(lambda: notes_of(me().id))
    @blp.response(200, UnreadCountSchema)
    def get(self) -> Any:
        """Count unread notifications"""
        return ask("notifications.count_unread", user_id=me().id)


@blp.route("/me/notifications/read-all")
class AllRead(MethodView):
    @requires()
    @blp.response(200, UnreadCountSchema)
    def post(self) -> Any:
        """Mark all notifications as read"""
        return ask("notifications.read_all_notes", user_id=me().id)


@blp.route("/me/notifications/<uuid:note_id>/read")
class Read(MethodView):
    @requires()
    @blp.response(200, NoteSchema)
    def post(self, note_id: UUID) -> Any:
        """Mark a notification as read

        Idempotent.
        """
        return ask("notifications.read_note", user_id=me().id, note_id=note_id)


@blp.route("/me/notifications/<uuid:note_id>/archive")
class Archived(MethodView):
    @requires()
    @blp.response(200, NoteSchema)
    def post(self, note_id: UUID) -> Any:
        """Archive a notification

        Idempotent.
        """
        return ask("notifications.archive_note", user_id=me().id, note_id=note_id)


@blp.route("/me/notifications/stream")
class Stream(MethodView):
    @requires()
    @blp.response(307)
    def get(self) -> BaseResponse:
        """Stream notifications

        Redirects to a stream of server-sent events, which accepts the same tokens. Each `notification` event is a
        notification as in the list; send its id as `Last-Event-ID` to resume. A comment is sent after 15 seconds
        without an event. The stream ends when the token expires.
        """
        return redirect(f"{settings.STREAM_URL}{request.path}", 307)
