"""Dead letters: events that a handler failed to process, and the later events of the same key.

Later events are parked behind the failed one, so that the events of a key are still handled in order.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Identity, Index, UniqueConstraint, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base, utc_now

MAX_ATTEMPTS = 5  # then the event is a poison message for this handler


class HandlerFailure(Base):
    """How many attempts of a handler at an event have not succeeded.

    An attempt is counted before it starts, so that one that kills the worker counts too.
    """

    __tablename__ = "handler_failures"

    handler: Mapped[str] = mapped_column(primary_key=True)
    event_id: Mapped[UUID] = mapped_column(primary_key=True)
    attempts: Mapped[int]
    failed_at: Mapped[datetime]

    __table_args__ = ({"schema": "bus"},)


class DeadLetter(Base):
    """An event that waits for an operator to replay or discard it, for one handler."""

    __tablename__ = "dead_letters"

    seq: Mapped[int] = mapped_column(Identity(), primary_key=True)  # the replay order within a key
    handler: Mapped[str]
    event_id: Mapped[UUID]
    topic: Mapped[str]
    key: Mapped[str]
    type: Mapped[str]
    payload: Mapped[dict[str, Any]]
    headers: Mapped[dict[str, Any]]
    reason: Mapped[str]  # the error, or "parked behind …"
    status: Mapped[str] = mapped_column(default="open")  # open, replayed or discarded
    created_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    published_at: Mapped[datetime | None]  # when its copy was published to Kafka

    __table_args__ = (
        UniqueConstraint("handler", "event_id"),
        Index("ix_dead_letters_open", "handler", "key", "seq", postgresql_where=text("status = 'open'")),
        {"schema": "bus"},
    )


def count_attempt(session: Session, handler: str, event_id: UUID) -> int:
    """Count an attempt and return the number of attempts so far. Commit before the attempt starts."""
    counted = insert(HandlerFailure).values(handler=handler, event_id=event_id, attempts=1, failed_at=utc_now())
    counted = counted.on_conflict_do_update(
        index_elements=["handler", "event_id"], set_={"attempts": HandlerFailure.attempts + 1, "failed_at": utc_now()}
    )
    return session.execute(counted.returning(HandlerFailure.attempts)).scalar_one()


def lock_partition_key(session: Session, handler: str, key: str) -> None:
    """Lock the dead letters of a handler and key against other transactions until this one ends."""
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"{handler} {key}", 0))))


def first_open_dead_letter(session: Session, handler: str, key: str) -> DeadLetter | None:
    """Return the first open dead letter of a key. Lock the key first."""
    waiting = select(DeadLetter).where(
        DeadLetter.handler == handler, DeadLetter.key == key, DeadLetter.status == "open"
    )
    return session.scalars(waiting.order_by(DeadLetter.seq).limit(1)).one_or_none()


def next_open_dead_letter(
    session: Session, handler: str, key: str, *, replayed: DeadLetter | None
) -> DeadLetter | None:
    """Close ``done`` as replayed and return the next open dead letter of the key, in one lock of the key."""
    lock_partition_key(session, handler, key)
    if replayed:
        close(session, replayed, "replayed", reason=replayed.reason)
    return first_open_dead_letter(session, handler, key)


def close(session: Session, dead_letter: DeadLetter, status: str, *, reason: str) -> None:
    """Close a dead letter as ``status``, unless it is closed already. Lock its key first."""
    row = session.get_one(DeadLetter, dead_letter.seq, populate_existing=True)
    if row.status == "open":
        row.status, row.reason, row.closed_at = status, reason, utc_now()
        session.flush()


def dead_letter_id(dead_letter: DeadLetter) -> str:
    """Return the public id of a dead letter: ``<service of the handler>-<seq>``."""
    return f"{dead_letter.handler.partition('.')[0]}-{dead_letter.seq}"


def blocked_keys(session: Session) -> set[tuple[str, str]]:
    """Return each (handler, key) that has open dead letters, and whose events are therefore parked."""
    waiting = select(DeadLetter.handler, DeadLetter.key).where(DeadLetter.status == "open").distinct()
    return {(handler, key) for handler, key in session.execute(waiting)}
