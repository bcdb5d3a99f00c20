"""Events wait here, written in the transaction that made them true, until Kafka has them.

Column names follow Debezium's outbox router, so that Debezium can stand in the relay's place.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Identity, Index, UniqueConstraint, insert, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from .base import Aggregate, Base, new_id, now
from .events import Event
from .log import bound_fields


class OutboxEvent(Base):
    __tablename__ = "outbox"

    # Only for order: identity values are taken before the commit, so a reader never trusts "seq > cursor".
    seq: Mapped[int] = mapped_column(Identity(), primary_key=True)
    id: Mapped[UUID] = mapped_column(unique=True)
    aggregatetype: Mapped[str]  # the topic
    aggregateid: Mapped[str]  # the key
    aggregate_version: Mapped[int]
    type: Mapped[str]
    payload: Mapped[dict[str, Any]]
    headers: Mapped[dict[str, Any]]  # request_id, traceparent, causation_id
    created_at: Mapped[datetime]
    published_at: Mapped[datetime | None]

    __table_args__ = (
        # Two writers that both believed they held the aggregate's lock would meet here.
        UniqueConstraint("aggregatetype", "aggregateid", "aggregate_version"),
        Index("ix_outbox_unpublished", "seq", postgresql_where=text("published_at IS NULL")),
        {"schema": "bus"},
    )


# A plain row, not an object of the session: nothing looks at it again in the transaction that tells it.
_INSERT = insert(OutboxEvent.__table__).inline()  # type: ignore[arg-type]  # declared as the wider FromClause


def record(session: Session, aggregate: Aggregate, *events: Event) -> None:
    """Tell ``events`` of ``aggregate``, whose row this transaction has locked or made: counts its version up.

    They reach Kafka once this transaction has committed, after all earlier ones of the aggregate.
    """
    if events:
        session.execute(_INSERT, [_row(aggregate, event) for event in events])
        session.info["recorded"] = True


def _row(aggregate: Aggregate, event: Event) -> dict[str, Any]:
    aggregate.version += 1
    bound = bound_fields()
    return {
        "id": new_id(),
        "aggregatetype": event.teller,
        "aggregateid": aggregate.aggregate_id,
        "aggregate_version": aggregate.version,
        "type": event.type,
        "payload": msgspec.to_builtins(event),
        "headers": {name: bound[name] for name in ("request_id", "traceparent", "causation_id") if name in bound},
        "created_at": now(),
    }
