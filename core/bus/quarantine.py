"""Quarantine of outbox events that Kafka refuses permanently, and of the later events of the same key.

Events of other keys are not affected. An operator releases or discards a quarantined event.

The outbox row holds the state: ``failed_at`` and ``failure_reason``. Later events of the key are PARKED, which
removes them from the index that the relay reads.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session, aliased

from core.errors import NotFound
from core.log import get_logger

from .outbox import OutboxEvent

log = get_logger(__name__)

PARKED = "parked"
# Serialises parking and releasing. Otherwise an event could be parked behind one that was just released.
LOCK_KEY = "hashtextextended('coursebus quarantine', 0)"

# ``published_at`` of a discarded event: too old to be republished by a refill or redelivered by the audit.
_DISCARDED_AT = datetime(1970, 1, 1, tzinfo=UTC)
_IS_REFUSED = (OutboxEvent.failed_at.is_not(None), OutboxEvent.failure_reason != PARKED)


@dataclass(frozen=True)
class QuarantinedEvent:
    """An event that Kafka refused, and the number of later events of its key that are parked."""

    id: str  # <service>-<seq>
    event_id: UUID
    event_type: str
    key: str
    reason: str
    parked: int
    created_at: datetime
    failed_at: datetime


def iter_quarantined(
    session: Session, service: str, *, after: int = 0, limit: int | None = None
) -> Iterator[QuarantinedEvent]:
    """Yield the refused events of ``service`` with a ``seq`` above ``after``, oldest first."""
    wanted = select(OutboxEvent).where(OutboxEvent.aggregatetype == service, OutboxEvent.seq > after, *_IS_REFUSED)
    for event in session.scalars(wanted.order_by(OutboxEvent.seq).limit(limit)):
        yield QuarantinedEvent(
            id=quarantine_id(event),
            event_id=event.id,
            event_type=event.type,
            key=event.aggregateid,
            reason=event.failure_reason or "",
            parked=_count_parked(session, event),
            created_at=event.created_at,
            failed_at=event.failed_at or event.created_at,
        )


def get_quarantined(session: Session, service: str, seq: int) -> OutboxEvent:
    """Return a refused event by its ``seq``. Raises NotFound."""
    event = session.scalars(
        select(OutboxEvent).where(OutboxEvent.seq == seq, OutboxEvent.aggregatetype == service, *_IS_REFUSED)
    ).one_or_none()
    if event is None:
        raise NotFound("quarantined event", f"{service}-{seq}")
    return event


def release(session: Session, service: str, seq: int) -> int:
    """Requeue the event and the parked events of its key; return their number. Raises NotFound.

    The relay publishes them in order. An event that Kafka refuses again returns to the quarantine.
    """
    _lock(session)
    event = get_quarantined(session, service, seq)
    released = _requeue_key(session, event)
    log.info("quarantined event released", name=quarantine_id(event), type=event.type, events=released)
    return released


def discard(session: Session, service: str, seq: int, *, reason: str) -> int:
    """Skip the event and requeue the parked events of its key; return their number. Raises NotFound.

    Consumers will see a gap at its ``ce_sequence``. The row stays in the outbox.
    """
    _lock(session)
    event = get_quarantined(session, service, seq)
    dropped = update(OutboxEvent).where(OutboxEvent.seq == seq)
    session.execute(dropped.values(published_at=_DISCARDED_AT, failed_at=None, failure_reason=None))
    released = _requeue_key(session, event)
    log.warning("quarantined event discarded", name=quarantine_id(event), type=event.type, reason=reason)
    return released


def quarantine_id(event: OutboxEvent) -> str:
    """Return the public id of the event: ``<service>-<seq>``."""
    return f"{event.aggregatetype}-{event.seq}"


def _lock(session: Session) -> None:
    session.execute(text(f"SELECT pg_advisory_xact_lock({LOCK_KEY})"))


def _requeue_key(session: Session, event: OutboxEvent) -> int:
    same_key = (OutboxEvent.aggregatetype == event.aggregatetype, OutboxEvent.aggregateid == event.aggregateid)
    requeued = (
        update(OutboxEvent)
        .where(*same_key, OutboxEvent.failed_at.is_not(None))
        .values(failed_at=None, failure_reason=None)
        .execution_options(synchronize_session=False)
    )
    session.info["recorded"] = True  # wakes the relay
    return session.execute(requeued).rowcount  # type: ignore[attr-defined, no-any-return]  # an update's result has it


def _count_parked(session: Session, event: OutboxEvent) -> int:
    behind = aliased(OutboxEvent)
    waiting = select(func.count()).where(
        behind.failed_at.is_not(None),
        behind.aggregatetype == event.aggregatetype,
        behind.aggregateid == event.aggregateid,
        behind.seq > event.seq,
    )
    return session.scalars(waiting).one()
