"""Inbox: the events that each handler has processed, inserted in the handler's transaction.

An event that is delivered more than once is therefore processed once.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Index
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base, utc_now


class InboxEvent(Base):
    __tablename__ = "inbox"

    handler: Mapped[str] = mapped_column(primary_key=True)
    event_id: Mapped[UUID] = mapped_column(primary_key=True)
    handled_at: Mapped[datetime]

    __table_args__ = (Index("ix_inbox_handled_at", "handled_at"), {"schema": "bus"})


def claim_event(session: Session, handler: str, event_id: UUID) -> bool:
    """Claim the event for ``handler``; return False if the handler has processed it before.

    A concurrent delivery of the same event waits here until this transaction has committed or rolled back.
    """
    claim = insert(InboxEvent).values(handler=handler, event_id=event_id, handled_at=utc_now()).on_conflict_do_nothing()
    return session.execute(claim.returning(InboxEvent.handler)).first() is not None
