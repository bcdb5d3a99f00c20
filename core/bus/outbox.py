"""Transactional outbox: events are inserted in the transaction of their change; the relay publishes them to Kafka.

Column names follow Debezium's outbox event router, so that Debezium can replace the relay.
"""

from datetime import datetime, timedelta
from itertools import chain
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import CheckConstraint, ColumnElement, Identity, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, Session, mapped_column

import settings
from core.db import Aggregate, Base, execute_later, new_id, utc_now
from core.errors import EventTooLarge
from core.events import Event
from core.log import correlation_ids, current_actor, current_task


class OutboxEvent(Base):
    __tablename__ = "outbox"

    # Do not page by "seq > the last one" to find new events: identity values are assigned before the commit and may
    # become visible out of order.
    seq: Mapped[int] = mapped_column(Identity(), primary_key=True)
    id: Mapped[UUID] = mapped_column(unique=True)
    aggregatetype: Mapped[str]  # the Kafka topic
    aggregateid: Mapped[str]  # the Kafka message key
    aggregate_version: Mapped[int]
    type: Mapped[str]
    payload: Mapped[dict[str, Any]]
    headers: Mapped[dict[str, Any]]  # request_id, traceparent, causation_id, actor, task, sent_at
    created_at: Mapped[datetime]
    published_at: Mapped[datetime | None]  # for the first time; a refill of the topic does not change it
    failed_at: Mapped[datetime | None]  # when Kafka refused it: it is in quarantine
    failure_reason: Mapped[str | None]  # Kafka's error, or PARKED behind an earlier event of the same key

    __table_args__ = (
        # Fails a transaction that recorded an event without holding the lock of the aggregate.
        UniqueConstraint("aggregatetype", "aggregateid", "aggregate_version"),
        CheckConstraint("(failed_at IS NULL) = (failure_reason IS NULL)", name="failure"),
        Index("ix_outbox_unpublished", "seq", postgresql_where=text("published_at IS NULL AND failed_at IS NULL")),
        Index(
            "ix_outbox_quarantined",
            "aggregatetype",
            "aggregateid",
            "seq",
            postgresql_where=text("failed_at IS NOT NULL"),
        ),
        Index("ix_outbox_request_id", text("(headers ->> 'request_id')")),
        {"schema": "bus"},
    )


# By the driver, because SQLAlchemy need not compile it. The transaction that records an
# event never reads it again.
_COLUMNS = ("id", "aggregatetype", "aggregateid", "aggregate_version", "type", "payload", "headers", "created_at")
_INSERT = f"INSERT INTO bus.outbox ({', '.join(_COLUMNS)}) VALUES "  # noqa: S608 constants only
_VALUES = f"({', '.join(['%s'] * len(_COLUMNS))})"


def record(session: Session, aggregate: Aggregate, *events: Event) -> None:
    """Insert ``events`` into the outbox and increment the version of ``aggregate`` with each of them.

    This transaction must have locked or created the aggregate's row. The events are published after the commit and
    after all earlier events of the aggregate. Raises EventTooLarge.
    """
    if events:
        # On the connection: the session would flush first, and once more for the next change of the same row.
        rows = [_row(aggregate, event) for event in events]
        # One statement for all, in their order.
        execute_later(session, _INSERT + ", ".join([_VALUES] * len(rows)), tuple(chain(*rows)))
        session.info["recorded"] = True


def is_redeliverable(at: datetime) -> ColumnElement[bool]:
    """Return the condition for published events that may be published or handled again at ``at``.

    A handler detects a duplicate by its inbox row, which is deleted after INBOX_RETENTION_DAYS. An older event would be
    handled a second time, after newer events of its key, and would undo their effect (docs/decisions/0090).
    """
    return OutboxEvent.published_at >= at - timedelta(days=settings.OUTBOX_RETENTION_DAYS)


def _row(aggregate: Aggregate, event: Event) -> tuple[Any, ...]:
    """Return the values of _COLUMNS."""
    payload = msgspec.json.encode(event)
    if len(payload) > settings.EVENT_MAX_BYTES:
        raise EventTooLarge(event.type, len(payload), settings.EVENT_MAX_BYTES)
    aggregate.version += 1
    return (
        str(new_id()),
        event.producer,
        aggregate.aggregate_id,
        aggregate.version,
        event.type,
        payload.decode(),
        msgspec.json.encode(correlation_ids() | current_actor() | current_task()).decode(),
        utc_now(),
    )
