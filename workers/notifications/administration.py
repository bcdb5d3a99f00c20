"""What was told to whom, for those who answer for it: "why did I get no mail?", and sending again."""

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
    """A page of what was told to anybody, newest first: {"items", "next"}; ``filters`` are fields and their values."""
    return history.list_told(filters, limit=limit, after=after)


@task
def replay_notification(session: Session, history: History, poke: Poke, *, notification_id: UUID) -> dict[str, Any]:
    """Send a delivery that has ended once more, if nothing is against it now; one that is under way is left alone.

    Raises NotFound, NotReplayable for a note of the feed.
    """
    told = history.told(notification_id)
    if told["channel"] == IN_APP:
        raise NotReplayable(IN_APP)
    EndedDelivery.forget(session, notification_id)
    if history.queue_again(notification_id, at=now()):
        poke(DELIVER[told["channel"]], delivery_id=notification_id)
    return history.told(notification_id)
