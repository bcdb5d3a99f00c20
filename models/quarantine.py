"""Events that Kafka refuses for good: each waits alone with the later events of its key until it is released.

The outbox row holds the state: ``failed_at`` and ``failure_reason``. Events behind a refused one are PARKED, so that
the relay's index does not contain them and it never reads them again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session, aliased

from .errors import NotFound
from .log import get_logger
from .outbox import OutboxEvent

log = get_logger(__name__)

PARKED = "parked"
# Serialises parking and releasing: without it an event could be parked behind one that was just released.
LOCK_KEY = "hashtextextended('coursebus quarantine', 0)"

# A discarded event counts as published at this time: too old for a refill, and for the audit to hand it to handlers.
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_REFUSED = (OutboxEvent.failed_at.is_not(None), OutboxEvent.failure_reason != PARKED)


@dataclass(frozen=True)
class Quarantined:
    """An event that Kafka refused, and how many later events of its key wait behind it."""

    id: str  # <service>-<seq>
    event_id: UUID
    event_type: str
    key: str
    reason: str
    waiting: int
    created_at: datetime
    failed_at: datetime


def quarantined(session: Session, service: str, *, after: int = 0, limit: int | None = None) -> Iterator[Quarantined]:
    """Return the refused events of ``service`` with a seq above ``after``, the oldest first."""
    wanted = select(OutboxEvent).where(OutboxEvent.aggregatetype == service, OutboxEvent.seq > after, *_REFUSED)
    for event in session.scalars(wanted.order_by(OutboxEvent.seq).limit(limit)):
        yield Quarantined(
            id=name_of(event),
            event_id=event.id,
            event_type=event.type,
            key=event.aggregateid,
            reason=event.failure_reason or "",
            waiting=_count_behind(session, event),
            created_at=event.created_at,
            failed_at=event.failed_at or event.created_at,
        )


def find_quarantined(session: Session, service: str, seq: int) -> OutboxEvent:
    """Return the refused event. Raises NotFound."""
    event = session.scalars(
        select(OutboxEvent).where(OutboxEvent.seq == seq, OutboxEvent.aggregatetype == service, *_REFUSED)
    ).one_or_none()
    if event is None:
        raise NotFound("quarantined event", f"{service}-{seq}")
    return event


def release(session: Session, service: str, seq: int) -> int:
    """Give the event and those parked behind it back to the relay; return their number. Raises NotFound.

    The relay publishes them in their order. An event that is refused once more returns to the quarantine.
    """
    _lock(session)
    event = find_quarantined(session, service, seq)
    released = _free(session, event)
    log.info("quarantined event released", name=name_of(event), type=event.type, events=released)
    return released


def discard(session: Session, service: str, seq: int, *, reason: str) -> int:
    """Never publish the event, and release those parked behind it; return their number. Raises NotFound.

    Consumers will miss its ``ce_sequence``. The row stays in the outbox.
    """
    _lock(session)
    event = find_quarantined(session, service, seq)
    dropped = update(OutboxEvent).where(OutboxEvent.seq == seq)
    session.execute(dropped.values(published_at=_LONG_AGO, failed_at=None, failure_reason=None))
    released = _free(session, event)
    log.warning("quarantined event discarded", name=name_of(event), type=event.type, reason=reason)
    return released


def name_of(event: OutboxEvent) -> str:
    """Return ``<service>-<seq>``."""
    return f"{event.aggregatetype}-{event.seq}"


def _lock(session: Session) -> None:
    session.execute(text(f"SELECT pg_advisory_xact_lock({LOCK_KEY})"))


def _free(session: Session, event: OutboxEvent) -> int:
    of_the_key = (OutboxEvent.aggregatetype == event.aggregatetype, OutboxEvent.aggregateid == event.aggregateid)
    freed = (
        update(OutboxEvent)
        .where(*of_the_key, OutboxEvent.failed_at.is_not(None))
        .values(failed_at=None, failure_reason=None)
        .execution_options(synchronize_session=False)
    )
    session.info["recorded"] = True  # wakes the relay
    return session.execute(freed).rowcount  # type: ignore[attr-defined,no-any-return]  # an update's result has it


def _count_behind(session: Session, event: OutboxEvent) -> int:
    behind = aliased(OutboxEvent)
    waiting = select(func.count()).where(
        behind.failed_at.is_not(None),
        behind.aggregatetype == event.aggregatetype,
        behind.aggregateid == event.aggregateid,
        behind.seq > event.seq,
    )
    return session.scalars(waiting).one()
