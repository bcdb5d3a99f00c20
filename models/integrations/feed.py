"""The feed: every event of every service, in the one order in which integrators read them, without personal data."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from sqlalchemy import Identity, Index, delete, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.base import Base, now
from models.errors import CursorInvalid, EventsPruned
from models.events import without_person


class LoggedEvent(Base):
    """An event as integrators get it."""

    __tablename__ = "events"

    position: Mapped[int] = mapped_column(Identity(), primary_key=True)
    id: Mapped[UUID] = mapped_column(unique=True)  # the same everywhere: ce_id, webhook-id
    type: Mapped[str]
    source: Mapped[str]
    subject: Mapped[str]
    sequence: Mapped[int]  # counts 1, 2, 3 … for each subject
    told_at: Mapped[datetime]
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
    def append(cls, session: Session, event_id: UUID, headers: Mapping[str, str], payload: dict[str, Any]) -> bool:
        """Put an event at the end; False when it is there already. Commit soon: all others wait.

        Positions are given under a lock that is held until the commit. Without it a smaller one could become visible
        after a greater one, and a reader who was there already would never see it.
        """
        data = without_person(payload)
        schema = headers["ce_dataschema"]
        event = {
            "id": event_id,
            "type": headers["ce_type"],
            "source": headers["ce_source"],
            "subject": headers["ce_subject"],
            "sequence": int(headers["ce_sequence"]),
            "told_at": datetime.fromisoformat(headers["ce_time"]),
            "correlation_id": headers.get("ce_correlationid"),
            "schema": schema if data == payload else f"{schema}/public",
            "data": data,
            "logged_at": now(),
        }
        session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended("integrations.events", 0))))
        appended = insert(cls).values(event).on_conflict_do_nothing().returning(cls.position)
        return session.execute(appended).first() is not None

    @classmethod
    def page(cls, session: Session, *, after: int, until: int, types: Sequence[str], limit: int) -> list[Self]:
        """The events behind ``after``, up to ``until``, in their order."""
        wanted = select(cls).where(cls.position > after, cls.position <= until)
        if types:
            wanted = wanted.where(cls.type.in_(types))
        return list(session.scalars(wanted.order_by(cls.position).limit(limit)))

    @classmethod
    def end(cls, session: Session, *, after: int) -> int:
        """The last position there is. Raises EventsPruned, CursorInvalid for an ``after`` that was never given out."""
        pruned_through = PrunedFeed.through(session)
        if 0 < after < pruned_through:
            raise EventsPruned(str(after))
        last = max(session.scalar(select(func.max(cls.position))) or 0, pruned_through)
        if after > last:
            raise CursorInvalid
        return last

    @classmethod
    def of_user(cls, session: Session, user_id: UUID) -> list[Self]:
        """What is kept of a person."""
        theirs = select(cls).where(cls.data.has_key("user_id"), cls.data["user_id"].astext == str(user_id))
        return list(session.scalars(theirs.order_by(cls.position)))

    def cloud_event(self) -> dict[str, Any]:
        """CloudEvents 1.0, as the feed and the webhooks show it."""
        correlation = {"correlationid": self.correlation_id} if self.correlation_id else {}
        return {
            "specversion": "1.0",
            "id": str(self.id),
            "source": self.source,
            "type": self.type,
            "subject": self.subject,
            "time": self.told_at,
            "datacontenttype": "application/json",
            "dataschema": self.schema,
            "sequence": str(self.sequence),
            **correlation,
            "position": str(self.position),
            "data": self.data,
        }


class PrunedFeed(Base):
    """How far the beginning of the feed is gone. One row, or none while nothing is."""

    __tablename__ = "pruned_feed"
    __table_args__ = ({"schema": "integrations"},)

    id: Mapped[int] = mapped_column(primary_key=True)
    position: Mapped[int]

    @classmethod
    def through(cls, session: Session) -> int:
        """The last position that was pruned, 0 while none was."""
        return session.scalar(select(cls.position)) or 0

    @classmethod
    def prune(cls, session: Session, *, before: datetime, limit: int) -> int:
        """Forget up to ``limit`` of the oldest events logged ``before``, and their deliveries; returns how many."""
        oldest = select(LoggedEvent.position).where(LoggedEvent.logged_at < before)
        oldest = oldest.order_by(LoggedEvent.position).limit(limit)
        gone = delete(LoggedEvent).where(LoggedEvent.position.in_(oldest)).returning(LoggedEvent.position)
        positions = session.scalars(gone).all()
        if positions:
            marked = insert(cls).values(id=1, position=max(positions))
            further = func.greatest(cls.position, marked.excluded.position)
            session.execute(marked.on_conflict_do_update(index_elements=["id"], set_={"position": further}))
        return len(positions)
