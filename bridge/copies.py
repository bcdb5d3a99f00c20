"""Copies of dead letters on Kafka, in ``<topic>.<handler>.dlq``, for whoever watches topics. The table is the truth."""

from collections.abc import Iterator
from typing import Any

import msgspec
from confluent_kafka import KafkaError, Message, Producer
from sqlalchemy import Connection, Row, Text, cast, select, text

from models.deadletters import DeadLetter

from .topics import Topics

BATCH = 100
FLUSH_SECONDS = 8

_UNPUBLISHED = (
    select(
        DeadLetter.seq,
        DeadLetter.handler,
        DeadLetter.topic,
        DeadLetter.key,
        cast(DeadLetter.payload, Text).label("payload"),
        DeadLetter.headers,
        DeadLetter.reason,
        DeadLetter.created_at,
    )
    .where(DeadLetter.published_at.is_(None))
    .order_by(DeadLetter.seq)
    .limit(BATCH)
)
_MARK = text("UPDATE bus.dead_letters SET published_at = now() WHERE seq = ANY(:seqs)")


class LetterCopies:
    """Sends each new dead letter to its topic; one that was cut off before its mark goes twice."""

    def __init__(self, connection: Connection, topics: Topics, producer: Producer) -> None:
        self._connection = connection
        self._topics = topics
        self._producer = producer

    def publish(self) -> None:
        """Send one batch. What Kafka does not acknowledge is sent again by the next call."""
        rows = self._connection.execute(_UNPUBLISHED).all()
        if not rows:
            return
        self._topics.ensure_for_letters({_topic_of(row) for row in rows})
        acknowledged: list[int] = []
        for row in rows:
            self._producer.produce(
                _topic_of(row),
                key=row.key,
                value=row.payload,
                headers=list(_headers(row)),
                on_delivery=_noted(row.seq, acknowledged),
            )
        self._producer.flush(FLUSH_SECONDS)
        self._connection.execute(_MARK, {"seqs": acknowledged})


def _noted(seq: int, acknowledged: list[int]) -> Any:
    def callback(error: KafkaError | None, _message: Message) -> None:
        if error is None:
            acknowledged.append(seq)

    return callback


def _topic_of(row: Row[Any]) -> str:
    return f"{row.topic}.{row.handler}.dlq"


def _headers(row: Row[Any]) -> Iterator[tuple[str, str]]:
    """The event's own headers, and where it came from and why it lies here."""
    origin = {"topic": row.topic, "partition": row.headers.get("partition"), "offset": row.headers.get("offset")}
    for name, value in row.headers.items():
        if name not in origin:
            yield name, str(value)
    for name, value in origin.items():
        yield f"dlq_origin_{name}", str(value)
    yield "dlq_handler", row.handler
    yield "dlq_error", row.reason
    yield "dlq_created_at", msgspec.to_builtins(row.created_at)
