"""Administration of notifications: list those of all users, resend one."""

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask.views import MethodView

from api.auth import require_auth
from api.pagination import Page, PageQuery, page_response, page_schema
from api.rpc import call
from api.schemas import Schema, Timestamp
from models.commands import ListNotifications, ReplayNotification

from .blueprint import blp

CHANNELS = ["email", "push", "in_app"]
STATES = [
    *("queued", "held", "sending", "sent", "delivered"),
    *("bounced", "complained", "failed", "suppressed", "skipped"),
]


class NotificationDeliverySchema(Schema):
    id = ma.fields.UUID()
    user_id = ma.fields.UUID()
    event_id = ma.fields.UUID()
    category = ma.fields.Str()
    channel = ma.fields.Str(validate=ma.validate.OneOf(CHANNELS))
    state = ma.fields.Str(validate=ma.validate.OneOf(STATES))
    reason = ma.fields.Str(allow_none=True, metadata={"description": "Why it was not sent, or is delayed."})
    attempts = ma.fields.Int()
    due_at = Timestamp(allow_none=True, metadata={"description": "Time of the next attempt."})
    created_at = Timestamp()
    ended_at = Timestamp(allow_none=True)
    data = ma.fields.Dict()  # described by api/openapi_notifications.py


NotificationDeliveryPage = page_schema(NotificationDeliverySchema)


class DeliveryFilters(PageQuery):
    channel = ma.fields.Str(validate=ma.validate.OneOf(CHANNELS))
    state = ma.fields.Str(validate=ma.validate.OneOf(STATES))
    category = ma.fields.Str(validate=ma.validate.Length(max=40))


class NotificationDeliveryQuery(DeliveryFilters):
    user_id = ma.fields.UUID()


@blp.route("/notifications")
class NotificationDeliveries(MethodView):
    @require_auth("notifications:admin", reads_personal_data=True)
    @blp.arguments(NotificationDeliveryQuery, location="query")
    @blp.doc(operationId="listNotifications")
    @blp.response(200, NotificationDeliveryPage)
    def get(self, query: dict[str, Any]) -> Page:
        """List notifications of all users

        Newest first, with their delivery state.
        """
        limit, after, user_id = query.pop("limit"), query.pop("after"), query.pop("user_id", None)
        return page_response(call(ListNotifications(user_id=user_id, filters=query, limit=limit, after=after)))


@blp.route("/notifications/<uuid:notification_id>/replay")
class NotificationReplay(MethodView):
    @require_auth("notifications:admin")
    @blp.doc(operationId="resendNotification")
    @blp.response(200, NotificationDeliverySchema)
    def post(self, notification_id: UUID) -> Any:
        """Resend a notification

        Sends a finished e-mail or push notification again. One that is in progress is left unchanged.
        """
        return call(ReplayNotification(notification_id=notification_id))
