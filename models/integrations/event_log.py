"""Event log for integrators: the events of all services in one order, without personal data."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Self
from uuid import UUID

import msgspec
from sqlalchemy import Identity, Index, delete, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base, utc_now
from core.messaging.event_messages import ReceivedEvent
from models.errors import CursorInvalid, EventsExpired
from models.events import without_pii

# By the driver, because every event is appended by it and SQLAlchemy need not compile it. The lock is taken before the
# first position is assigned, as no row is inserted without the row of "locked".
_APPEND = """
    WITH locked AS MATERIALIZED (SELECT pg_advisory_xact_lock(hashtextextended('integrations.events', 0)))
    INSERT INTO integrations.events
        (id, type, source, subject, sequence, occurred_at, correlation_id, schema, data, logged_at)
    SELECT id, type, source, subject, sequence, occurred_at, correlation_id, schema, data, %(now)s
    FROM locked, ROWS FROM (jsonb_to_recordset(%(events)s::jsonb) AS (
        id uuid, type text, source text, subject text, sequence bigint, occurred_at timestamptz, correlation_id text,
        schema text, data jsonb
    )) WITH ORDINALITY AS event (
        id, type, source, subject, sequence, occurred_at, correlation_id, schema, data, number
    )
    ORDER BY number
    ON CONFLICT DO NOTHING
    RETURNING id, type
"""


class EventLogEntry(Base):
    """An event in the log. Its ``position`` is the order in which integrators read."""

    __tablename__ = "events"

    position: Mapped[int] = mapped_column(Identity(), primary_key=True)
    id: Mapped[UUID] = mapped_column(unique=True)  # the event id: ce_id, webhook-id
    type: Mapped[str]
    source: Mapped[str]
    subject: Mapped[str]
    sequence: Mapped[int]  # 1, 2, 3 … per subject
    occurred_at: Mapped[datetime]
    correlation_id: Mapped[str | None]
    schema: Mapped[str]
    data: Mapped[dict[str, Any]]
    logged_at: Mapped[datetime]

    __table_args__ = (
        Index("ix_events_type", "type", "position"),
        Index("ix_events_logged_at", "logged_at"),
        Index("ix_events_user_id", text("(data ->> 'user_id')"), postgresql_where=text("data ? 'user_id'")),
        {"schema": "integrations"},
    )

    @classmethod
    def append(cls, session: Session, events: Sequence[ReceivedEvent]) -> dict[UUID, str]:
        """Append ``events`` in their order; return the types of those that were not in the log, by id.

        Commit soon: other appends wait. Positions are assigned under a lock that is held until the commit. Otherwise a
        smaller position could become visible after a greater one, and a reader that has passed it would never see the
        event.
        """
        rows = msgspec.json.encode([_row_of(event) for event in events]).decode()
        appended = session.connection().exec_driver_sql(_APPEND, {"events": rows, "now": utc_now()})
        return {UUID(str(event_id)): type_ for event_id, type_ in appended}

    @classmethod
    def list_page(cls, session: Session, *, after: int, until: int, types: Sequence[str], limit: int) -> list[Self]:
        """Return up to ``limit`` events with after < position <= until, in order."""
        wanted = select(cls).where(cls.position > after, cls.position <= until)
        if types:
            wanted = wanted.where(cls.type.in_(types))
        return list(session.scalars(wanted.order_by(cls.position).limit(limit)))

    @classmethod
    def last_position(cls, session: Session, *, after: int) -> int:
        """Return the last position in the log.

        Raises EventsExpired if events after ``after`` were deleted, CursorInvalid if ``after`` is beyond the end.
        """
        pruned_through = EventLogRetention.last_pruned_position(session)
        if 0 < after < pruned_through:
            raise EventsExpired(str(after))
        last = max(session.scalar(select(func.max(cls.position))) or 0, pruned_through)
        if after > last:
            raise CursorInvalid
        return last

    @classmethod
    def list_for_user(cls, session: Session, user_id: UUID) -> list[Self]:
        """Return the events of a user, for a data export."""
        theirs = select(cls).where(cls.data.has_key("user_id"), cls.data["user_id"].astext == str(user_id))
        return list(session.scalars(theirs.order_by(cls.position)))

    def cloud_event(self) -> dict[str, Any]:
        """Return the event in the CloudEvents 1.0 JSON format, for the feed and for webhooks."""
        correlation = {"correlationid": self.correlation_id} if self.correlation_id else {}
        return {
            "specversion": "1.0",
            "id": str(self.id),
            "source": self.source,
            "type": self.type,
            "subject": self.subject,
            "time": self.occurred_at,
            "datacontenttype": "application/json",
            "dataschema": self.schema,
            "sequence": str(self.sequence),
            **correlation,
            "position": str(self.position),
            "data": self.data,
        }


def _row_of(received: ReceivedEvent) -> dict[str, Any]:
    headers, data = received.event_headers, without_pii(received.event)
    schema = headers["ce_dataschema"]
    return {
        "id": received.event_id,
        "type": headers["ce_type"],
        "source": headers["ce_source"],
        "subject": headers["ce_subject"],
        "sequence": int(headers["ce_sequence"]),
        "occurred_at": headers["ce_time"],
        "correlation_id": headers.get("ce_correlationid"),
        "schema": schema if data == received.event else f"{schema}/public",
        "data": data,
    }


class EventLogRetention(Base):
    """The last position that was deleted from the log. One row, or none if nothing was deleted."""

    __tablename__ = "event_log_retention"
    __table_args__ = ({"schema": "integrations"},)

    id: Mapped[int] = mapped_column(primary_key=True)
    position: Mapped[int]

    @classmethod
    def last_pruned_position(cls, session: Session) -> int:
        """Return the last position that was deleted; 0 if none was."""
        return session.scalar(select(cls.position)) or 0

    @classmethod
    def prune(cls, session: Session, *, before: datetime, limit: int) -> int:
        """Delete up to ``limit`` events logged before a time, oldest first, and their deliveries; return the number."""
        oldest = select(EventLogEntry.position).where(EventLogEntry.logged_at < before)
        oldest = oldest.order_by(EventLogEntry.position).limit(limit)
        deleted = delete(EventLogEntry).where(EventLogEntry.position.in_(oldest)).returning(EventLogEntry.position)
        positions = session.scalars(deleted).all()
        if positions:
            marked = insert(cls).values(id=1, position=max(positions))
            further = func.greatest(cls.position, marked.excluded.position)
            session.execute(marked.on_conflict_do_update(index_elements=["id"], set_={"position": further}))
        return len(positions)
