"""Inbox: the events that each handler has processed, inserted in the handler's transaction.

An event that is delivered more than once is therefore processed once.
"""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base, utc_now


class InboxEvent(Base):
    __tablename__ = "inbox"

    handler: Mapped[str] = mapped_column(primary_key=True)
    event_id: Mapped[UUID] = mapped_column(primary_key=True)
    handled_at: Mapped[datetime]

    __table_args__ = (Index("ix_inbox_handled_at", "handled_at"), {"schema": "bus"})


# By the driver, because it is executed for every event and SQLAlchemy need not compile it. Sorted, so that two
# transactions that claim the same events do not wait for each other.
_CLAIM = """
    INSERT INTO bus.inbox (handler, event_id, handled_at)
    SELECT handler, event_id, %(now)s
    FROM unnest(%(handlers)s::text[], %(event_ids)s::uuid[]) AS event (handler, event_id)
    ORDER BY handler, event_id
    ON CONFLICT DO NOTHING
    RETURNING handler, event_id
"""

HandlerEvent = tuple[str, UUID]  # handler and event id


def claim_event(session: Session, handler: str, event_id: UUID) -> bool:
    """Claim the event for ``handler``; return False if the handler has processed it before.

    A concurrent delivery of the same event waits here until this transaction has committed or rolled back.
    """
    return bool(claim_events(session, [(handler, event_id)]))


def claim_events(session: Session, events: Collection[HandlerEvent]) -> set[HandlerEvent]:
    """Claim each event for its handler; return those that the handler has not processed before."""
    parameters = {
        "handlers": [handler for handler, _ in events],
        "event_ids": [str(event_id) for _, event_id in events],
        "now": utc_now(),
    }
    claimed = session.connection().exec_driver_sql(_CLAIM, parameters)
    return {(handler, UUID(str(event_id))) for handler, event_id in claimed}
