"""Publish the outbox to Kafka with one leader per database; mark events after Kafka acknowledged them.

The events of one key are published in order. In a backlog, the newest events of other keys do not wait for it.

The leader holds a PostgreSQL advisory lock on the connection that it uses for reading and marking: without the lock it
cannot mark. A paused leader loses its connection after ``idle_session_timeout``. Its successor publishes the unmarked
events again, and the consumers' inboxes detect the duplicates.
"""

import threading
import time
from contextlib import closing
from datetime import timedelta

from confluent_kafka import KafkaError, KafkaException
from redis.exceptions import RedisError
from sqlalchemy import Connection, Engine, bindparam, create_engine, exists, false, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import aliased
from sqlalchemy.pool import NullPool

from bridge import kafka
from bridge.metrics import count_published
from bridge.record import FRESH_SECONDS
from bridge.topics import Topics
from core.bus.outbox import OutboxEvent
from core.bus.quarantine import LOCK_KEY, PARKED
from core.db import network_options, require_role, utc_now
from core.fault_injection import crash_point
from core.log import get_logger
from core.redis import RELAY_HINT, queue_redis

from .batch_sender import BatchResult, BatchSender
from .dead_letter_publisher import DeadLetterPublisher
from .outbox_rows import EVENTS, Rows
from .refill import Refills

log = get_logger(__name__)

BATCH = 500
NEWEST = 100
POLL_SECONDS = 1.0  # a hint ends the wait; without one, because it was lost, events are found after this time
PAUSE_MAX_SECONDS = 0.1  # after a batch that was not full
CHECK_SECONDS = 1  # how often a relay checks whether the broker has lost its log
_LEADER_LOCK = "SELECT pg_try_advisory_lock(hashtext('coursebus relay'))"
_SETTINGS = "-c role=coursebus_bridge -c timezone=UTC -c idle_session_timeout=15s -c statement_timeout=60s"

_earlier = aliased(OutboxEvent)
_IS_BLOCKED = (
    exists()
    .where(
        _earlier.failed_at.is_not(None),
        _earlier.aggregatetype == OutboxEvent.aggregatetype,
        _earlier.aggregateid == OutboxEvent.aggregateid,
        _earlier.seq < OutboxEvent.seq,
    )
    .label("is_blocked")
)
_UNPUBLISHED = (
    EVENTS.add_columns(_IS_BLOCKED)
    # Do not page by "seq > the last one": identity values are assigned before the commit and may become visible later.
    .where(OutboxEvent.published_at.is_(None), OutboxEvent.failed_at.is_(None))
    .order_by(OutboxEvent.seq)
    .limit(BATCH)
)
# In a backlog, the newest events are published with each batch. Only the last rows are searched: a search for events of
# free keys, or by ``created_at``, would read the whole backlog with each batch.
_NEWEST = (
    select(OutboxEvent.seq, OutboxEvent.created_at)
    .where(OutboxEvent.published_at.is_(None), OutboxEvent.failed_at.is_(None))
    .order_by(OutboxEvent.seq.desc())
    .limit(NEWEST)
    .subquery()
)
_FIRST_OF_THEIR_KEYS = (
    EVENTS.add_columns(false().label("is_blocked"))
    .where(
        OutboxEvent.seq.in_(
            select(_NEWEST.c.seq).where(
                _NEWEST.c.seq > bindparam("after"),
                _NEWEST.c.created_at > bindparam("since"),
            )
        ),
        ~exists().where(
            _earlier.published_at.is_(None),
            _earlier.aggregatetype == OutboxEvent.aggregatetype,
            _earlier.aggregateid == OutboxEvent.aggregateid,
            _earlier.seq < OutboxEvent.seq,
        ),
    )
    .order_by(OutboxEvent.seq)
)
_MARK = text("UPDATE bus.outbox SET published_at = now() WHERE seq = ANY(:seqs)")
_QUARANTINE = text("UPDATE bus.outbox SET failed_at = now(), failure_reason = :reason WHERE seq = :seq")
_PARK = text(f"""
    UPDATE bus.outbox AS event SET failed_at = now(), failure_reason = '{PARKED}'
    WHERE seq = ANY(:seqs) AND EXISTS (
        SELECT FROM bus.outbox AS earlier
        WHERE earlier.failed_at IS NOT NULL AND earlier.aggregatetype = event.aggregatetype
        AND earlier.aggregateid = event.aggregateid AND earlier.seq < event.seq)""")  # noqa: S608 constants only


class Relay(threading.Thread):
    """Publishes the outbox of one database while it is the leader."""

    def __init__(self, database_url: str, stop: threading.Event) -> None:
        super().__init__(name="relay")
        self._engine = _engine(database_url)
        self._stop_requested = stop

    def run(self) -> None:
        while not self._stop_requested.is_set():
            try:
                with self._engine.connect() as connection:
                    self._run_as_leader(connection)
            except (DBAPIError, KafkaException, BufferError, TimeoutError) as error:
                log.warning("relay restarts", reason=repr(error))
                self._stop_requested.wait(0.5)

    def _run_as_leader(self, connection: Connection) -> None:
        while not connection.execute(text(_LEADER_LOCK)).scalar_one():
            if self._stop_requested.wait(1):
                return
        topics = Topics()
        topics.ensure()
        with closing(Publisher(connection, topics)) as publisher:
            publisher.refills.begin_for_lost_logs(publisher.topic_ids)
            log.info("relay became leader")
            self._publish_until_stopped(publisher)

    def _publish_until_stopped(self, publisher: "Publisher") -> None:
        checked_at = time.monotonic()
        while not self._stop_requested.is_set():
            began = time.monotonic()
            published = publisher.publish()
            has_refilled = publisher.refill()
            if time.monotonic() - checked_at > CHECK_SECONDS:
                publisher.check_topics()
                publisher.dead_letters.publish()
                publisher.refills.reload()
                checked_at = time.monotonic()
            if not published and not has_refilled:
                _wait_for_hint()
            elif published < BATCH:
                # Let more events share the next batch, the more so the busier the machine is.
                self._stop_requested.wait(min(time.monotonic() - began, PAUSE_MAX_SECONDS))


class Publisher:
    """Publishes batches with one producer to one set of topics. Must be closed after an exception."""

    def __init__(self, connection: Connection, topics: Topics) -> None:
        self._connection = connection
        self._topics = topics
        self._producer = kafka.producer()
        self._sender = BatchSender(self._producer, self.check_topics)
        self.topic_ids = topics.ids()
        self.dead_letters = DeadLetterPublisher(connection, topics, self._producer)
        self.refills = Refills(connection)

    def close(self) -> None:
        """Discard the messages that Kafka has not acknowledged.

        The client would send them later, also to a new log: before the events of their keys that the refill publishes.
        """
        self._producer.purge()

    def publish(self) -> int:
        """Publish one batch of new events, and in a backlog the newest ones; return how many events were read.

        Raises KafkaException if Kafka did not acknowledge some of them, whether or not it stored them.
        """
        rows = list(self._connection.execute(_UNPUBLISHED).all())
        if not rows:
            return 0
        if len(rows) == BATCH:
            since = utc_now() - timedelta(seconds=FRESH_SECONDS)
            rows += self._connection.execute(_FIRST_OF_THEIR_KEYS, {"after": rows[-1].seq, "since": since}).all()
        free = [row for row in rows if not row.is_blocked]
        for earlier in self.refills.earlier_events(free):
            self._republish(earlier)
        sent = self._send(free)
        # A broker that lost its log may take an event for a duplicate and acknowledge it without storing it. So an
        # acknowledgement is valid only if the topic ids are unchanged after it.
        self.check_topics()
        crash_point("acknowledged, not marked")
        self._connection.execute(_MARK, {"seqs": sent.acknowledged})
        self._quarantine(sent.refused, [row.seq for row in rows if row.is_blocked])
        count_published(rows, sent.acknowledged)
        _raise_if_incomplete(sent)
        return len(rows)

    def refill(self) -> bool:
        """Publish the next batch of a refill; return whether one is running.

        An event that Kafka refuses is skipped: it was published before, and the audit redelivers it if necessary.
        """
        batch = self.refills.batch()
        if batch is None:
            return False
        self._republish(batch.rows)
        self.check_topics()
        self.refills.save_position(batch)
        return True

    def check_topics(self) -> None:
        """Raise KafkaException if the id of a topic has changed."""
        if self._topics.ids() != self.topic_ids:
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_ID))

    def _republish(self, rows: Rows) -> None:
        remaining = rows
        while remaining:
            sent = self._send(remaining)
            _raise_if_incomplete(sent)
            count_published(remaining, sent.acknowledged)
            for seq, reason in sent.refused.items():
                log.error("event cannot be published again", seq=seq, reason=reason)
            settled = {*sent.acknowledged, *sent.refused}
            remaining = [row for row in remaining if row.seq not in settled]

    def _send(self, rows: Rows) -> BatchResult:
        return self._sender.send(rows) if rows else BatchResult()

    def _quarantine(self, refused: dict[int, str], blocked: list[int]) -> None:
        if not refused and not blocked:
            return
        self._connection.execute(text(f"SELECT pg_advisory_lock({LOCK_KEY})"))
        for seq, reason in refused.items():
            self._connection.execute(_QUARANTINE, {"seq": seq, "reason": reason})
            log.error("event quarantined", seq=seq, reason=reason)
        if blocked:
            self._connection.execute(_PARK, {"seqs": blocked})
        self._connection.execute(text(f"SELECT pg_advisory_unlock({LOCK_KEY})"))


def _raise_if_incomplete(sent: BatchResult) -> None:
    if not sent.is_complete:
        raise KafkaException(KafkaError(KafkaError._MSG_TIMED_OUT))  # noqa: SLF001 has no public name


def _wait_for_hint() -> None:
    try:
        queue_redis().blpop([RELAY_HINT], timeout=POLL_SECONDS)
    except RedisError:
        time.sleep(POLL_SECONDS)  # polling continues without Redis


def _engine(database_url: str) -> Engine:
    connections = create_engine(
        database_url,
        isolation_level="AUTOCOMMIT",  # the advisory lock belongs to the session; each statement is its own transaction
        poolclass=NullPool,
        connect_args={**network_options(database_url), "options": _SETTINGS, "application_name": "coursebus-relay"},
    )
    require_role(connections, "bridge")
    return connections
