"""Publish copies of dead letters to the Kafka topics ``<topic>.<handler>.dlq``. ``bus.dead_letters`` is authoritative.

A copy contains no personal data. A copy that fails affects neither the other copies nor the relay.
"""

import time
from collections.abc import Iterator
from typing import Any

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from sqlalchemy import Connection, Row, select, text

from bridge.topics import Topics
from core.bus.dead_letters import DeadLetter
from core.log import get_logger, scrub
from models.events import without_pii

from .batch_sender import PERMANENT_ERRORS

log = get_logger(__name__)

BATCH = 100
FLUSH_SECONDS = 2  # blocks the relay
PAUSE_SECONDS = 60  # before the next try after Kafka failed
PAYLOAD_MAX_BYTES = 512 * 1024

_UNPUBLISHED = (
    select(
        DeadLetter.seq,
        DeadLetter.handler,
        DeadLetter.topic,
        DeadLetter.key,
        DeadLetter.payload,
        DeadLetter.headers,
        DeadLetter.reason,
        DeadLetter.created_at,
    )
    .where(DeadLetter.published_at.is_(None))
    .order_by(DeadLetter.seq)
    .limit(BATCH)
)
_MARK = text("UPDATE bus.dead_letters SET published_at = now() WHERE seq = ANY(:seqs)")


class DeadLetterPublisher:
    """Sends each new dead letter to its topic at least once: a crash before the row is marked sends it again."""

    def __init__(self, connection: Connection, topics: Topics, producer: Producer) -> None:
        self._connection = connection
        self._topics = topics
        self._producer = producer
        self._next_at = 0.0  # monotonic

    def publish(self) -> None:
        """Send one batch; a later call sends unacknowledged copies again. Raises DBAPIError, but no Kafka error."""
        if time.monotonic() < self._next_at:
            return
        rows = self._connection.execute(_UNPUBLISHED).all()
        if not rows:
            return
        settled: list[int] = []
        try:
            self._topics.ensure_dead_letter_topics({_topic_of(row) for row in rows})
            for row in rows:
                self._produce(row, settled)
            self._producer.flush(FLUSH_SECONDS)
        except (KafkaException, BufferError, TimeoutError) as error:
            log.warning("dead letters not published", reason=str(error))
        if len(settled) < len(rows):
            self._next_at = time.monotonic() + PAUSE_SECONDS
        self._connection.execute(_MARK, {"seqs": settled})

    def _produce(self, row: Row[Any], settled: list[int]) -> None:
        """Produce one copy; add its seq to ``settled`` when Kafka has acknowledged it or refused it permanently."""

        def on_delivery(error: KafkaError | None, _message: Message | None) -> None:
            if error is None:
                settled.append(row.seq)
            elif error.code() in PERMANENT_ERRORS:
                log.error("dead letter cannot be published", seq=row.seq, handler=row.handler, reason=str(error))
                settled.append(row.seq)

        payload = msgspec.json.encode(without_pii(row.payload))
        headers: list[tuple[str, str | bytes | None]] = [*_headers(row)]
        if len(payload) > PAYLOAD_MAX_BYTES:
            headers.append(("dlq_payload_omitted", f"{len(payload)} bytes; it is in bus.dead_letters"))
            payload = b"null"
        try:
            self._producer.produce(_topic_of(row), key=row.key, value=payload, headers=headers, on_delivery=on_delivery)
        except KafkaException as exception:
            if exception.args[0].code() not in PERMANENT_ERRORS:
                raise
            on_delivery(exception.args[0], None)


def _topic_of(row: Row[Any]) -> str:
    return f"{row.topic}.{row.handler}.dlq"


def _headers(row: Row[Any]) -> Iterator[tuple[str, str]]:
    """Yield the event's own headers, its original topic, partition and offset, and the reason of the dead letter."""
    origin = {"topic": row.topic, "partition": row.headers.get("partition"), "offset": row.headers.get("offset")}
    for name, value in row.headers.items():
        if name not in origin:
            yield name, str(value)
    for name, value in origin.items():
        yield f"dlq_origin_{name}", str(value)
    yield "dlq_handler", row.handler
    yield "dlq_error", scrub(row.reason)
    yield "dlq_created_at", msgspec.to_builtins(row.created_at)
