"""A user's in-app notifications: the MongoDB filter, their public form, and the Redis channel for new ones."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from core.redis import cache_redis
from core.redis_commands import execute_all_once

from .notification_data import complete

NEW_NOTIFICATION_CHANNEL = (
    "new-notifications"  # the Redis channel; a message is the id of a user with a new notification
)

_PUBLIC_FIELDS = ("category", "title", "body", "data", "created_at", "seen_at", "read_at", "archived_at")


def inbox_filter(user_id: UUID) -> dict[str, Any]:
    """Return the MongoDB filter for the in-app notifications of a user."""
    return {"user_id": user_id, "channel": "in_app", "state": "delivered"}


def notification_response(notification: dict[str, Any]) -> dict[str, Any]:
    """Return the public fields of a notification."""
    shown = {"id": notification["_id"]} | {field: notification[field] for field in _PUBLIC_FIELDS}
    return shown | {"data": complete(notification["data"])}


def publish_new_notifications(user_ids: Iterable[UUID]) -> None:
    """Wake the open streams of users. The messages may be lost: streams also poll at intervals."""
    execute_all_once(cache_redis(), [("PUBLISH", NEW_NOTIFICATION_CHANNEL, str(user_id)) for user_id in user_ids])
