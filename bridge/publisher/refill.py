"""Refill: publish events again after Kafka lost a log, or on request by ``python -m bridge replay``.

Kafka assigns a new id to a topic that is recreated. PostgreSQL stores the id of the topic that was published to. If it
differs from the broker's, the log was lost and is refilled from the outbox.

A refill reads the outbox by ``seq`` and stores its position in ``bus.kafka_topics``. It updates no outbox row, so
millions of events cost no update, and a new leader continues where the previous one stopped. New events are published
first. Only events that satisfy ``is_redeliverable`` are published again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, exists, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from bridge import kafka
from core.bus.kafka_topics import KafkaTopic
from core.bus.outbox import OutboxEvent, is_redeliverable
from core.db import session_factory, utc_now
from core.log import get_logger
from models.events import Event
from models.events.routes import producers_of

from .outbox_rows import EVENTS, Rows, key_of

log = get_logger(__name__)

BATCH = 500
WINDOW = 20_000  # seqs per query: between the wanted events are events of other topics and expired ones
LOG_EVERY = 10_000  # events


@dataclass(frozen=True)
class Refill:
    """A running refill of one topic: events with ``after`` < ``seq`` <= ``until``."""

    topic: str
    after: int
    until: int
    since: datetime | None
    began_at: datetime  # events published later are in the new log
    sent: int

    @property
    def service(self) -> str:
        return kafka.service_of(self.topic)


@dataclass(frozen=True)
class Batch:
    """The next events of a refill, and its position after they are published."""

    refill: Refill
    rows: Rows
    position: int


class Refills:
    """The refills of one database, executed by the leading relay."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._refills: list[Refill] = []
        self._brought_forward: set[tuple[str, str]] = set()

    def begin_for_lost_logs(self, topic_ids: dict[str, str]) -> bool:
        """Start a refill for each topic whose id changed; return whether one was started."""
        known = {
            row.topic: row.topic_id for row in self._connection.execute(select(KafkaTopic.topic, KafkaTopic.topic_id))
        }
        begun = False
        for topic, topic_id in sorted(topic_ids.items()):
            if known.get(topic) != topic_id:
                begun = self._begin(topic, topic_id) or begun
        self.reload()
        return begun

    def reload(self) -> None:
        """Read the running refills from the database; the command line may have requested one."""
        rows = self._connection.execute(
            select(
                KafkaTopic.topic,
                KafkaTopic.refill_after.label("after"),
                KafkaTopic.refill_until.label("until"),
                KafkaTopic.refill_since.label("since"),
                KafkaTopic.refill_started_at.label("began_at"),
                KafkaTopic.refill_sent.label("sent"),
            )
            .where(KafkaTopic.refill_until.is_not(None))
            .order_by(KafkaTopic.topic)
        ).mappings()
        refills = {row["topic"]: Refill(**row) for row in rows}
        known = {refill.topic: refill.after for refill in self._refills}
        if not all(topic in known and refill.after >= known[topic] for topic, refill in refills.items()):
            self._brought_forward.clear()  # a new refill, or one that was widened to earlier events
        self._refills = list(refills.values())

    def earlier_events(self, fresh: Rows) -> Iterator[Rows]:
        """Yield batches of earlier events with the keys of ``fresh``, which must be published before ``fresh``.

        Otherwise a new event would overtake lost events of its key that were not handled yet.
        """
        for refill in self._refills:
            keys = {key_of(row) for row in fresh if row.aggregatetype == refill.service} - self._brought_forward
            if keys:
                wanted = _events_of(refill).where(OutboxEvent.aggregateid.in_([key for _, key in keys]))
                rows = iter(self._connection.execute(wanted).all())
                while batch := list(islice(rows, BATCH)):
                    yield batch
                self._brought_forward |= keys

    def batch(self) -> Batch | None:
        """Return the next batch of the refill with the lowest position; None if none is running."""
        if not self._refills:
            return None
        refill = min(self._refills, key=lambda each: each.after)
        end = min(refill.after + WINDOW, refill.until)
        rows = self._connection.execute(_events_of(refill).where(OutboxEvent.seq <= end).limit(BATCH)).all()
        remaining = [row for row in rows if key_of(row) not in self._brought_forward]
        return Batch(refill, remaining, rows[-1].seq if len(rows) == BATCH else end)

    def save_position(self, batch: Batch) -> None:
        """Store the position after ``batch``, whose events are published."""
        refill, done = batch.refill, batch.position >= batch.refill.until
        values = {"refill_after": batch.position} if not done else dict.fromkeys(_POSITION_COLUMNS)
        sent = refill.sent + len(batch.rows)
        # Update only an unchanged refill: if the command line widened it concurrently, ``reload`` reads the new one.
        self._connection.execute(
            update(KafkaTopic)
            .where(KafkaTopic.topic == refill.topic)
            .where(KafkaTopic.refill_after == refill.after, KafkaTopic.refill_until == refill.until)
            .values(**values, refill_sent=sent)
        )
        if done or sent // LOG_EVERY > refill.sent // LOG_EVERY:
            left = 0 if done else refill.until - batch.position
            log.info(
                "topic refilled" if done else "topic refill in progress",
                topic=refill.topic,
                events=sent,
                seqs_left=left,
            )
        self.reload()

    def _begin(self, topic: str, topic_id: str) -> bool:
        service = kafka.service_of(topic)
        is_needed = self._connection.execute(select(exists().where(*_repeatable(service)))).scalar_one()
        first, last = self._connection.execute(select(func.min(OutboxEvent.seq), func.max(OutboxEvent.seq))).one()
        values = {
            "refill_after": first - 1 if is_needed else None,
            "refill_until": last if is_needed else None,
            "refill_since": None,
            "refill_started_at": func.now() if is_needed else None,  # by the clock of ``published_at``
            "refill_sent": 0,
        }
        # One statement: after a crash the table has either the old id, or the new one together with its refill.
        known = insert(KafkaTopic).values(topic=topic, topic_id=topic_id, known_since=utc_now(), **values)
        names = ("topic_id", "known_since", *values)
        self._connection.execute(
            known.on_conflict_do_update(index_elements=["topic"], set_={name: known.excluded[name] for name in names})
        )
        log.info("new topic", topic=topic, refills=is_needed)
        return bool(is_needed)


def request_refill(service: str, *, since: datetime | None) -> int:
    """Request a refill of the events that ``service`` recorded since ``since``; return their number.

    A refill that is already running is widened.
    """
    wanted = (*_repeatable(service), *([OutboxEvent.created_at >= since] if since else []))
    with session_factory(service).begin() as session:
        count, first = session.execute(select(func.count(), func.min(OutboxEvent.seq)).where(*wanted)).one()
        if count:
            _widen(session, service, after=first - 1, since=since)
    return int(count)


def is_refilling(topics: list[str]) -> bool:
    """Return whether a refill is running for one of the topics, so that it lacks published events."""
    for name in topics:
        with session_factory(kafka.service_of(name)).begin() as session:
            topic = session.get(KafkaTopic, name)
        if topic and topic.refill_until is not None:
            return True
    return False


def has_older_events(service: str, *, since: datetime | None) -> bool:
    """Return whether ``service`` has published events since ``since`` that are too old to be repeated."""
    published = (
        OutboxEvent.published_at.is_not(None),
        OutboxEvent.aggregatetype == service,
        ~is_redeliverable(utc_now()),
    )
    wanted = (*published, *([OutboxEvent.created_at >= since] if since else []))
    with session_factory(service).begin() as session:
        return bool(session.scalar(select(exists().where(OutboxEvent.type.in_(_types(service)), *wanted))))


def _widen(session: Session, service: str, *, after: int, since: datetime | None) -> None:
    last, at = session.execute(select(func.max(OutboxEvent.seq), func.now())).one()
    name = kafka.topic_of(service)
    # A topic that no relay has seen yet gets an empty id: the relay treats it as a new topic and refills all of it.
    new = insert(KafkaTopic).values(topic=name, topic_id="", known_since=utc_now(), refill_sent=0)
    session.execute(new.on_conflict_do_nothing())
    topic = session.get_one(KafkaTopic, name, with_for_update=True)
    if topic.refill_until is None:
        topic.refill_since, topic.refill_sent = since, 0
    elif topic.refill_since:
        topic.refill_since = min(topic.refill_since, since) if since else None
    topic.refill_after = after if topic.refill_after is None else min(topic.refill_after, after)
    topic.refill_until, topic.refill_started_at = last, at


def _events_of(refill: Refill) -> Select[Any]:
    wanted = EVENTS.where(
        OutboxEvent.aggregatetype == refill.service,
        OutboxEvent.seq > refill.after,
        OutboxEvent.seq <= refill.until,
        OutboxEvent.published_at < refill.began_at,
        is_redeliverable(utc_now()),
    )
    if refill.since:
        wanted = wanted.where(OutboxEvent.created_at >= refill.since)
    return wanted.order_by(OutboxEvent.seq)


def _repeatable(service: str) -> tuple[ColumnElement[bool], ...]:
    # Filter by type, because it is the first column of the index of published events.
    return (
        OutboxEvent.aggregatetype == service,
        OutboxEvent.type.in_(_types(service)),
        is_redeliverable(utc_now()),
    )


def _types(service: str) -> list[str]:
    return sorted(type_ for type_ in Event.by_type if service in producers_of(type_))


_POSITION_COLUMNS = ("refill_after", "refill_until", "refill_since")
