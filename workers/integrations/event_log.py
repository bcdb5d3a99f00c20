"""The event feed: stores the events of all services for clients that read it and for webhooks."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

import settings
from core.db import utc_now
from core.messaging.event_messages import ReceivedEvent
from models.commands import SendDueWebhooks
from models.integrations import EventLogEntry, EventLogRetention, WebhookDelivery
from models.integrations.endpoints import validate_event_types
from workers import batch_handler, job, task
from workers.runtime.dependencies import EnqueueAfterCommit
from workers.runtime.execution import Transactions

PRUNE_BATCH = 1000  # events per transaction, so that no transaction is long
MAX_BATCHES_PER_RUN = 200


@batch_handler
def append_event_to_log(
    session: Session, enqueue_after_commit: EnqueueAfterCommit, *, events: list[ReceivedEvent]
) -> None:
    """Append events to the feed and create a delivery of each for each subscribed endpoint."""
    # Ignore replayed events that are older than the retention: the inbox no longer knows that they were handled.
    oldest = utc_now() - timedelta(days=settings.EVENT_FEED_RETENTION_DAYS)
    retained = [event for event in events if datetime.fromisoformat(event.event_headers["ce_time"]) >= oldest]
    appended = EventLogEntry.append(session, retained) if retained else {}
    if WebhookDelivery.schedule(session, appended, at=utc_now()):
        enqueue_after_commit(SendDueWebhooks())


@task
def list_events(session: Session, *, after: int | None, types: list[str], limit: int) -> dict[str, Any]:
    """Return the events after ``after``: {"items", "next_after", "has_more"}; for None, the end of the feed only.

    Raises UnknownEventType, EventsExpired.

    ``next_after`` never skips events that are not committed yet, even if a filter excludes events.
    """
    wanted = validate_event_types(types)
    end = EventLogEntry.last_position(session, after=after or 0)
    start = end if after is None else after
    found = EventLogEntry.list_page(session, after=start, until=end, types=wanted, limit=limit)
    full = len(found) == limit
    return {
        "items": [event.cloud_event() for event in found],
        "next_after": str(found[-1].position if full else end),
        "has_more": full and found[-1].position < end,
    }


@job
def prune_event_log(transactions: Transactions) -> None:
    """Delete events older than EVENT_FEED_RETENTION_DAYS and their deliveries."""
    before = utc_now() - timedelta(days=settings.EVENT_FEED_RETENTION_DAYS)
    for _ in range(MAX_BATCHES_PER_RUN):
        with transactions.begin() as session:
            if EventLogRetention.prune(session, before=before, limit=PRUNE_BATCH) < PRUNE_BATCH:
                return
