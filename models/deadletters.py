"""Events that a handler could not take, and behind them the later ones of the same key, so that order survives."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Identity, Index, UniqueConstraint, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from .base import Base, now

MAX_ATTEMPTS = 5  # then the event is poison for this handler


class FailedDelivery(Base):
    """How often a handler has begun an event without finishing it. Counted before it begins, so a kill counts too."""

    __tablename__ = "failed_deliveries"

    handler: Mapped[str] = mapped_column(primary_key=True)
    event_id: Mapped[UUID] = mapped_column(primary_key=True)
    attempts: Mapped[int]
    failed_at: Mapped[datetime]

    __table_args__ = ({"schema": "bus"},)


class DeadLetter(Base):
    __tablename__ = "dead_letters"

    seq: Mapped[int] = mapped_column(Identity(), primary_key=True)  # the order in which letters of a key replay
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
    published_at: Mapped[datetime | None]  # when its copy was on Kafka

    __table_args__ = (
        UniqueConstraint("handler", "event_id"),
        Index("ix_dead_letters_open", "handler", "key", "seq", postgresql_where=text("status = 'open'")),
        {"schema": "bus"},
    )


def count_attempt(session: Session, handler: str, event_id: UUID) -> int:
    """Count one more attempt; commit before it begins. Returns how many there are now."""
    counted = insert(FailedDelivery).values(handler=handler, event_id=event_id, attempts=1, failed_at=now())
    counted = counted.on_conflict_do_update(
        index_elements=["handler", "event_id"], set_={"attempts": FailedDelivery.attempts + 1, "failed_at": now()}
    )
    return session.execute(counted.returning(FailedDelivery.attempts)).scalar_one()


def lock_key(session: Session, handler: str, key: str) -> None:
    """Let no other transaction park, replay or discard letters of this handler and key meanwhile."""
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"{handler} {key}", 0))))


def first_open_letter(session: Session, handler: str, key: str) -> DeadLetter | None:
    """The letter of a key that the others wait behind. Lock the key first."""
    waiting = select(DeadLetter).where(
        DeadLetter.handler == handler, DeadLetter.key == key, DeadLetter.status == "open"
    )
    return session.scalars(waiting.order_by(DeadLetter.seq).limit(1)).one_or_none()


def next_open_letter(session: Session, handler: str, key: str, *, done: DeadLetter | None) -> DeadLetter | None:
    """Close ``done`` as replayed and find the next of its key, with nobody parking between the two."""
    lock_key(session, handler, key)
    if done:
        close(session, done, "replayed", reason=done.reason)
    return first_open_letter(session, handler, key)


def close(session: Session, letter: DeadLetter, status: str, *, reason: str) -> None:
    """Let ``letter`` wait no longer, unless another has closed it. Lock its key first."""
    row = session.get_one(DeadLetter, letter.seq, populate_existing=True)
    if row.status == "open":
        row.status, row.reason, row.closed_at = status, reason, now()
        session.flush()


def name_of(letter: DeadLetter) -> str:
    """``<service>-<seq>``: the service that could not take it, and its number there."""
    return f"{letter.handler.partition('.')[0]}-{letter.seq}"


def blocked_keys(session: Session) -> set[tuple[str, str]]:
    """Each (handler, key) whose events are parked."""
    waiting = select(DeadLetter.handler, DeadLetter.key).where(DeadLetter.status == "open").distinct()
    return {(handler, key) for handler, key in session.execute(waiting)}
