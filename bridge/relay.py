"""From the outbox to Kafka: in order, one leader a database, marked only when Kafka has acknowledged.

The leader holds a PostgreSQL advisory lock on the one connection by which it also reads and marks, so that losing the
lock and losing the right to mark are the same thing. A leader that is paused loses its connection after
``idle_session_timeout``; what it had read, its successor sends again, which the consumers' inboxes absorb.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message
from redis.exceptions import RedisError
from sqlalchemy import Connection, Engine, Row, Text, cast, create_engine, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

import settings
from models.faults import reach
from models.log import get_logger
from models.outbox import OutboxEvent
from models.redis import RELAY_HINT, queue_redis

from . import kafka
from .copies import LetterCopies
from .losses import unpublish_what_is_lost
from .metrics import count_published
from .topics import Topics

log = get_logger(__name__)

BATCH = 500
POLL_SECONDS = 0.25  # behind the hint, which may be lost
LOOK_UP_SECONDS = 0.5
FLUSH_SECONDS = 8  # below the connection's idle timeout
CHECK_SECONDS = 1  # how often an idle relay looks whether the broker has lost its log
CONSUMERS_NOTICE_SECONDS = 2  # above their heartbeat: by then they have lost their places, and begin at the beginning
_LEADER_LOCK = "SELECT pg_try_advisory_lock(hashtext('coursebus relay'))"
_SETTINGS = "-c role=coursebus_bridge -c timezone=UTC -c idle_session_timeout=15s -c statement_timeout=60s"

_UNPUBLISHED = (
    select(
        OutboxEvent.seq,
        OutboxEvent.id,
        OutboxEvent.aggregatetype,
        OutboxEvent.aggregateid,
        OutboxEvent.aggregate_version,
        OutboxEvent.type,
        cast(OutboxEvent.payload, Text).label("payload"),  # JSON as it stands: no need to take it apart
        OutboxEvent.headers,
        OutboxEvent.created_at,
    )
    # Never "seq > the last one": identity values are taken before the commit, so a lower one may appear later.
    .where(OutboxEvent.published_at.is_(None))
    .order_by(OutboxEvent.seq)
    .limit(BATCH)
)
_MARK = text("UPDATE bus.outbox SET published_at = now() WHERE seq = ANY(:seqs)")


class Relay(threading.Thread):
    """Publishes the outbox of one database for as long as it leads there."""

    def __init__(self, database_url: str, stop: threading.Event) -> None:
        super().__init__(name="relay")
        self._engine = _engine(database_url)
        self._stop_asked = stop

    def run(self) -> None:
        while not self._stop_asked.is_set():
            try:
                with self._engine.connect() as connection:
                    self._lead(connection)
            except (DBAPIError, KafkaException, BufferError, TimeoutError) as error:
                log.warning("relay starts again", reason=repr(error))
                self._stop_asked.wait(0.5)

    def _lead(self, connection: Connection) -> None:
        while not connection.execute(text(_LEADER_LOCK)).scalar_one():
            if self._stop_asked.wait(1):
                return
        topics = Topics()
        topics.ensure()
        publisher = Publisher(connection, topics)
        if unpublish_what_is_lost(connection, publisher.topic_ids) and settings.KAFKA_EMBEDDED:
            # Its consumers do not know of which log their places are: they would read on in the middle of the new one.
            self._stop_asked.wait(CONSUMERS_NOTICE_SECONDS)
        log.info("relay leads")
        checked_at = time.monotonic()
        while not self._stop_asked.is_set():
            sent = publisher.publish()
            if time.monotonic() - checked_at > CHECK_SECONDS:
                publisher.check_topics()
                publisher.letters.publish()
                checked_at = time.monotonic()
            if not sent:
                _await_hint()


class Publisher:
    """Sends batches with one producer to one set of topics; good until the first error."""

    def __init__(self, connection: Connection, topics: Topics) -> None:
        self._connection = connection
        self._topics = topics
        self._producer = kafka.producer()
        self.topic_ids = topics.ids()
        self.letters = LetterCopies(connection, topics, self._producer)

    def publish(self) -> int:
        """Send one batch and mark it; returns how many events that were.

        Raises KafkaException when some of them did not arrive, or may not have.
        """
        rows = self._connection.execute(_UNPUBLISHED).all()
        if not rows:
            return 0
        sent = self._send(rows)
        # A broker that has forgotten everything can acknowledge what it does not keep, taking it for a repetition. So
        # an acknowledgement counts when the topics are still the same after it.
        self.check_topics()
        reach("acknowledged, not marked")
        self._connection.execute(_MARK, {"seqs": sent})
        count_published(rows, sent)
        if len(sent) < len(rows):
            raise KafkaException(KafkaError(KafkaError._MSG_TIMED_OUT))  # noqa: SLF001 has no public name
        return len(rows)

    def _flush(self) -> None:
        give_up_at = time.monotonic() + FLUSH_SECONDS
        while self._producer.flush(LOOK_UP_SECONDS) and time.monotonic() < give_up_at:
            self.check_topics()  # a producer that a broker has forgotten waits in vain, and says nothing

    def check_topics(self) -> None:
        """Raises KafkaException when a topic is not the one that it was."""
        if self._topics.ids() != self.topic_ids:
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_ID))

    def _send(self, rows: Sequence[Row[Any]]) -> list[int]:
        """Hand the rows to Kafka in order; returns the seqs that it acknowledged, up to the first gap of each key."""
        acknowledged: set[int] = set()

        def acknowledge(seq: int) -> Any:
            def callback(error: KafkaError | None, message: Message) -> None:
                if error is None and message.offset() is not None:
                    acknowledged.add(seq)

            return callback

        for row in rows:
            self._producer.produce(
                kafka.topic_of(row.aggregatetype),
                key=row.aggregateid,
                value=row.payload,
                headers=list(headers_of(row)),
                on_delivery=acknowledge(row.seq),
            )
            self._producer.poll(0)
        reach("produced, not acknowledged")
        self._flush()
        marked, gaps = [], set()
        for row in rows:
            key = (row.aggregatetype, row.aggregateid)
            if row.seq not in acknowledged:
                gaps.add(key)
            elif key not in gaps:  # what comes after a gap is sent again behind it
                marked.append(row.seq)
        return marked


def headers_of(row: Row[Any]) -> Iterator[tuple[str, str]]:
    """CloudEvents 1.0, Kafka binary mode."""
    yield "content-type", "application/json"
    yield "ce_specversion", "1.0"
    yield "ce_id", str(row.id)
    yield "ce_source", f"/{row.aggregatetype}"
    yield "ce_type", row.type
    yield "ce_subject", row.aggregateid
    yield "ce_time", msgspec.to_builtins(row.created_at)
    yield "ce_dataschema", f"https://coursebus.dev/schemas/{row.type}/1"
    yield "ce_partitionkey", row.aggregateid
    yield "ce_sequence", str(row.aggregate_version)
    for header, name in (
        ("ce_correlationid", "request_id"),
        ("ce_causationid", "causation_id"),
        ("traceparent", "traceparent"),
    ):
        if value := row.headers.get(name):
            yield header, value


def _await_hint() -> None:
    try:
        queue_redis().blpop([RELAY_HINT], timeout=POLL_SECONDS)
    except RedisError:
        time.sleep(POLL_SECONDS)  # the poll goes on without Redis


def _engine(database_url: str) -> Engine:
    return create_engine(
        database_url,
        isolation_level="AUTOCOMMIT",  # the lock belongs to the session; each statement stands for itself
        poolclass=NullPool,
        connect_args={"options": _SETTINGS, "connect_timeout": 5, "application_name": "coursebus-relay"},
    )
