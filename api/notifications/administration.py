"""Administration of notifications: list those of all users, resend one."""

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask.views import MethodView

from api.auth import requires
from api.pages import Page, PageQuery, page, page_of
from api.queue import ask
from api.schemas import Schema, Timestamp

from .blueprint import blp

CHANNELS = ["email", "push", "in_app"]
STATES = [
    *("queued", "held", "sending", "sent", "delivered"),
    *("bounced", "complained", "failed", "suppressed", "skipped"),
]


class NotificationSchema(Schema):
    id = ma.fields.UUID()
    user_id = ma.fields.UUID()
    event_id = ma.fields.UUID()
    category = ma.fields.Str()
    channel = ma.fields.Str(validate=ma.validate.OneOf(CHANNELS))
    state = ma.fields.Str(validate=ma.validate.OneOf(STATES))
    reason = ma.fields.Str(allow_none=True, metadata={"description": "Why it was not sent, or not yet."})
    attempts = ma.fields.Int()
    due_at = Timestamp(allow_none=True, metadata={"description": "When it is taken up again."})
    created_at = Timestamp()
    ended_at = Timestamp(allow_none=True)
    data = ma.fields.Dict(metadata={"description": "The event that it tells of: `event` and its fields."})


class NotificationQuery(PageQuery):
    user_id = ma.fields.UUID()
    channel = ma.fields.Str(validate=ma.validate.OneOf(CHANNELS))
    state = ma.fields.Str(validate=ma.validate.OneOf(STATES))
    category = ma.fields.Str(validate=ma.validate.Length(max=40))


@blp.route("/notifications")
class Notifications(MethodView):
    @requires("notifications:admin")
    @blp.arguments(NotificationQuery, location="query")
    @blp.response(200, page_of(NotificationSchema))
    def get(self, query: dict[str, Any]) -> Page:
        """List notifications of all users

        Newest first, with their delivery state.
        """
        limit, after = query.pop("limit"), query.pop("after")
        filters = {name: str(value) for name, value in query.items()}
        return page(ask("notifications.list_notifications", filters=filters, limit=limit, after=after))


@blp.route("/notifications/<uuid:notification_id>/replay")
class NotificationReplay(MethodView):
    @requires("notifications:admin")
    @blp.response(200, NotificationSchema)
    def post(self, notification_id: UUID) -> Any:
        """Resend a notification

        Sends a finished e-mail or push notification again. One that is in progress is left unchanged.
        """
        return ask("notifications.replay_notification", notification_id=notification_id)
