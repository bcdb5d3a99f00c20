"""The in-app feed: list, count, read and archive a user's notes."""

from typing import Any
from uuid import UUID

from core.db import utc_now
from models.notifications.notification_store import NotificationStore
from workers import task


@task
def list_inbox(
    notification_store: NotificationStore, *, user_id: UUID, unread: bool, limit: int, after: int | None
) -> dict[str, Any]:
    """Return a page of a user's notes, newest first: {"items", "next"}. ``next`` is the ``after`` of the next page."""
    return notification_store.list_inbox(user_id, unread=unread, limit=limit, after=after)


@task
def count_unread(notification_store: NotificationStore, *, user_id: UUID) -> dict[str, Any]:
    """Return the number of a user's unread notes: {"unread"}."""
    return {"unread": notification_store.count_unread(user_id)}


@task
def mark_read(notification_store: NotificationStore, *, user_id: UUID, notification_id: UUID) -> dict[str, Any]:
    """Mark one of a user's notes as read. Raises NotFound."""
    return notification_store.mark_read(user_id, notification_id, at=utc_now())


@task
def mark_all_read(notification_store: NotificationStore, *, user_id: UUID) -> dict[str, Any]:
    """Mark all notes of a user as read. Returns {"unread"}: notes that were added during the call."""
    notification_store.mark_all_read(user_id, at=utc_now())
    return {"unread": notification_store.count_unread(user_id)}


@task
def archive_notification(
    notification_store: NotificationStore, *, user_id: UUID, notification_id: UUID
) -> dict[str, Any]:
    """Archive one of a user's notes: the feed no longer lists it. Raises NotFound."""
    return notification_store.archive(user_id, notification_id, at=utc_now())
