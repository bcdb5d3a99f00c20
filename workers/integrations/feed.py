"""The feed: every event that any service tells, kept for those who read it or are told of it."""

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

PRUNED_AT_ONCE = 1000  # events a transaction: none is held for long
BATCHES_A_RUN = 200


@task
def keep_event(session: Session, poke: Poke, *, event: AnyEvent, event_id: UUID, event_headers: dict[str, str]) -> None:
    """Append an event to the feed and have it told to every endpoint that listens."""
    # A replay of long ago, which the inbox has forgotten: it was told then, and is no news.
    if datetime.fromisoformat(event_headers["ce_time"]) < now() - timedelta(days=settings.EVENTS_KEPT_DAYS):
        return
    if not LoggedEvent.append(session, event_id, event_headers, event):
        return
    if WebhookDelivery.plan(session, event_id, event_headers["ce_type"], at=now()):
        poke("integrations.send_due_webhooks")


@task
def list_events(session: Session, *, after: int, types: list[str], limit: int) -> dict[str, Any]:
    """The events behind ``after``: {"items", "next_after", "has_more"}. Raises UnknownEventType, EventsPruned.

    ``next_after`` is never behind an event that has yet to appear, also where a filter leaves events out.
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
    """Forget the events that have been kept for long enough, and their deliveries."""
    before = now() - timedelta(days=settings.EVENTS_KEPT_DAYS)
    for _ in range(BATCHES_A_RUN):
        with sessions.begin() as session:
            if PrunedFeed.prune(session, before=before, limit=PRUNED_AT_ONCE) < PRUNED_AT_ONCE:
                return
