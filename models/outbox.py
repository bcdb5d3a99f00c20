"""The transactional outbox: events are written in the transaction of their change and published from here.

Column names follow Debezium's outbox router, so that Debezium can take the relay's place.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import CheckConstraint, ColumnElement, Identity, Index, UniqueConstraint, insert, text
from sqlalchemy.orm import Mapped, Session, mapped_column

import settings

from .base import Aggregate, Base, new_id, now
from .errors import EventTooLarge
from .events import Event
from .log import bound_actor, bound_cause


class OutboxEvent(Base):
    __tablename__ = "outbox"

    # Do not page by "seq > the last one" for new events: identity values are assigned before the commit and may become
    # visible out of order.
    seq: Mapped[int] = mapped_column(Identity(), primary_key=True)
    id: Mapped[UUID] = mapped_column(unique=True)
    aggregatetype: Mapped[str]  # the topic
    aggregateid: Mapped[str]  # the key
    aggregate_version: Mapped[int]
    type: Mapped[str]
    payload: Mapped[dict[str, Any]]
    headers: Mapped[dict[str, Any]]  # request_id, traceparent, causation_id, actor
    created_at: Mapped[datetime]
    published_at: Mapped[datetime | None]  # for the first time; a refill leaves it as it is
    failed_at: Mapped[datetime | None]  # in quarantine since then
    failure_reason: Mapped[str | None]  # what Kafka said, or PARKED behind an earlier event of the key

    __table_args__ = (
        # Two writers that both believed they held the aggregate's lock would meet here.
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
        {"schema": "bus"},
    )


# A plain row, not an object of the session: the transaction that records an event does not read it again.
_INSERT = insert(OutboxEvent.__table__).inline()  # type: ignore[arg-type]  # declared as the wider FromClause


def record(session: Session, aggregate: Aggregate, *events: Event) -> None:
    """Write ``events`` of ``aggregate``, whose row this transaction has locked or made, and increment its version.

    They are published after the commit, behind all earlier events of the aggregate. Raises EventTooLarge.
    """
    if events:
        session.execute(_INSERT, [_row(aggregate, event) for event in events])
        session.info["recorded"] = True


def may_be_repeated(at: datetime) -> ColumnElement[bool]:
    """Return the condition for published events that may be published, or given to handlers, once more at ``at``.

    A handler recognises a repetition by its inbox, which keeps an event for INBOX_KEPT_DAYS. An older event would be
    handled a second time, after younger ones of its key, and turn their effect back (docs/decisions/0090).
    """
    return OutboxEvent.published_at >= at - timedelta(days=settings.OUTBOX_KEPT_DAYS)


def _row(aggregate: Aggregate, event: Event) -> dict[str, Any]:
    size = len(msgspec.json.encode(event))
    if size > settings.EVENT_MAX_BYTES:
        raise EventTooLarge(event.type, size, settings.EVENT_MAX_BYTES)
    aggregate.version += 1
    return {
        "id": new_id(),
        "aggregatetype": event.teller,
        "aggregateid": aggregate.aggregate_id,
        "aggregate_version": aggregate.version,
        "type": event.type,
        "payload": msgspec.to_builtins(event),
        "headers": bound_cause() | bound_actor(),
        "created_at": now(),
    }
