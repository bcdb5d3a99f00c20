"""The event feed: stores the events of all services for clients that read it and for webhooks."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

import settings
from models.base import now
from models.events import AnyEvent
from models.integrations import LoggedEvent, PrunedFeed, WebhookDelivery
from models.integrations.endpoints import known_types
from workers import job, task
from workers._delivery import Sessions
from workers.resources import Poke

PRUNED_AT_ONCE = 1000  # events per transaction, so that no transaction is long
BATCHES_A_RUN = 200


@task
def keep_event(session: Session, poke: Poke, *, event: AnyEvent, event_id: UUID, event_headers: dict[str, str]) -> None:
    """Append an event to the feed and create a delivery for each subscribed endpoint."""
    # Ignore replayed events that are older than the retention: the inbox no longer knows that they were handled.
    if datetime.fromisoformat(event_headers["ce_time"]) < now() - timedelta(days=settings.EVENTS_KEPT_DAYS):
        return
    if not LoggedEvent.append(session, event_id, event_headers, event):
        return
    if WebhookDelivery.plan(session, event_id, event_headers["ce_type"], at=now()):
        poke("integrations.send_due_webhooks")


@task
def list_events(session: Session, *, after: int, types: list[str], limit: int) -> dict[str, Any]:
    """Return the events after ``after``: {"items", "next_after", "has_more"}. Raises UnknownEventType, EventsPruned.

    ``next_after`` never skips events that are not committed yet, even if a filter excludes events.
    """
    wanted = known_types(types)
    end = LoggedEvent.end(session, after=after)
    found = LoggedEvent.page(session, after=after, until=end, types=wanted, limit=limit)
    full = len(found) == limit
    return {
        "items": [event.cloud_event() for event in found],
        "next_after": str(found[-1].position if full else end),
        "has_more": full and found[-1].position < end,
    }


@job(every_seconds=3600)
def prune_feed(sessions: Sessions) -> None:
    """Delete events older than EVENTS_KEPT_DAYS and their deliveries."""
    before = now() - timedelta(days=settings.EVENTS_KEPT_DAYS)
    for _ in range(BATCHES_A_RUN):
        with sessions.begin() as session:
            if PrunedFeed.prune(session, before=before, limit=PRUNED_AT_ONCE) < PRUNED_AT_ONCE:
                return
