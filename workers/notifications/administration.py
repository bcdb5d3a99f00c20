"""Administration of notifications: look up what was sent to users, and send a delivery again."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from models.base import now
from models.errors import NotReplayable
from models.notifications import IN_APP, EndedDelivery
from workers import task
from workers.resources import Poke

from .delivery import DELIVER
from .history import History


@task
def list_notifications(history: History, *, filters: dict[str, str], limit: int, after: str | None) -> dict[str, Any]:
    """Return a page of all users' notifications, newest first: {"items", "next"}. ``filters`` maps fields to values."""
    return history.list_told(filters, limit=limit, after=after)


@task
def replay_notification(session: Session, history: History, poke: Poke, *, notification_id: UUID) -> dict[str, Any]:
    """Send an ended delivery again, unless preferences or suppression forbid it now. No effect on open deliveries.

    Raises NotFound, and NotReplayable for feed notes.
    """
    told = history.told(notification_id)
    if told["channel"] == IN_APP:
        raise NotReplayable(IN_APP)
    EndedDelivery.forget(session, notification_id)
    if history.queue_again(notification_id, at=now()):
        poke(DELIVER[told["channel"]], delivery_id=notification_id)
    return history.told(notification_id)
