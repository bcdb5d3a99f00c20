"""Administration of notifications: look up what was sent to users, and send a delivery again."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from core.db import utc_now
from models.errors import NotificationNotReplayable
from models.notifications import IN_APP, DeliveryResult
from models.notifications.notification_store import NotificationStore
from workers import task
from workers.runtime.dependencies import EnqueueAfterCommit

from .delivery import COMMAND_BY_CHANNEL


@task
def list_notifications(
    notification_store: NotificationStore,
    *,
    filters: dict[str, str],
    limit: int,
    after: UUID | None,
    user_id: UUID | None = None,
) -> dict[str, Any]:
    """Return a page of all users' notifications, newest first: {"items", "next"}. ``filters`` maps fields to values."""
    return notification_store.list_all(filters, user_id=user_id, limit=limit, after=after)


@task
def replay_notification(
    session: Session,
    notification_store: NotificationStore,
    enqueue_after_commit: EnqueueAfterCommit,
    *,
    notification_id: UUID,
) -> dict[str, Any]:
    """Send an ended delivery again, unless preferences or suppression forbid it now. No effect on open deliveries.

    Raises NotFound, and NotificationNotReplayable for in-app notifications.
    """
    notification = notification_store.get(notification_id)
    if notification["channel"] == IN_APP:
        raise NotificationNotReplayable(IN_APP)
    DeliveryResult.delete(session, notification_id)
    if notification_store.requeue(notification_id, at=utc_now()):
        enqueue_after_commit(COMMAND_BY_CHANNEL[notification["channel"]](delivery_id=notification_id))
    return notification_store.get(notification_id)
