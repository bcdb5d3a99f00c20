"""The caller's notification inbox."""

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask.views import MethodView

from api.auth import current_caller, require_auth
from api.pagination import Page, PageQuery, page_response, page_schema
from api.read_cache import cached_page_view
from api.rpc import call
from api.schemas import Schema, Timestamp
from core.cache import notifications_version_key
from models.commands import ArchiveNotification, CountUnread, ListInbox, MarkAllRead, MarkRead

from .blueprint import blp


class NotificationSchema(Schema):
    id = ma.fields.UUID()
    category = ma.fields.Str()
    title = ma.fields.Str()
    body = ma.fields.Str()
    data = ma.fields.Dict()  # described by api/openapi_notifications.py
    created_at = Timestamp()
    seen_at = Timestamp(allow_none=True)
    read_at = Timestamp(allow_none=True)
    archived_at = Timestamp(allow_none=True)


class InboxQuery(PageQuery):
    unread = ma.fields.Bool(load_default=False)


class UnreadCountSchema(Schema):
    unread = ma.fields.Int()


@blp.route("/me/notifications")
class Inbox(MethodView):
    @require_auth()
    @blp.arguments(InboxQuery, location="query")
    @blp.doc(operationId="listOwnNotifications")
    @blp.response(200, page_schema(NotificationSchema))
    def get(self, query: dict[str, Any]) -> Page:
        """List the caller's notifications

        Newest first, without archived ones.
        """
        return page_response(call(ListInbox(user_id=current_caller().id, **query)))


@blp.route("/me/notifications/unread-count")
class UnreadCount(MethodView):
    @require_auth()
    @cached_page_view(lambda: notifications_version_key(current_caller().id))
    @blp.doc(operationId="countUnreadNotifications")
    @blp.response(200, UnreadCountSchema)
    def get(self) -> Any:
        """Count unread notifications

        For the badge of a bell. Archived notifications do not count.
        """
        return call(CountUnread(user_id=current_caller().id))


@blp.route("/me/notifications/read-all")
class AllNotificationsRead(MethodView):
    @require_auth()
    @blp.doc(operationId="markAllNotificationsRead")
    @blp.response(200, UnreadCountSchema)
    def post(self) -> Any:
        """Mark all notifications as read

        Those that arrive later stay unread.
        """
        return call(MarkAllRead(user_id=current_caller().id))


@blp.route("/me/notifications/<uuid:notification_id>/read")
class NotificationRead(MethodView):
    @require_auth()
    @blp.doc(operationId="markNotificationRead")
    @blp.response(200, NotificationSchema)
    def post(self, notification_id: UUID) -> Any:
        """Mark a notification as read

        Idempotent.
        """
        return call(MarkRead(user_id=current_caller().id, notification_id=notification_id))


@blp.route("/me/notifications/<uuid:notification_id>/archive")
class Archive(MethodView):
    @require_auth()
    @blp.doc(operationId="archiveNotification")
    @blp.response(200, NotificationSchema)
    def post(self, notification_id: UUID) -> Any:
        """Archive a notification

        Idempotent.
        """
        return call(ArchiveNotification(user_id=current_caller().id, notification_id=notification_id))
