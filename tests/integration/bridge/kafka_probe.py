"""Helpers that write events to the outbox and read the topics."""

from contextlib import closing
from dataclasses import dataclass
from uuid import uuid4

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

import settings
from bridge import kafka
from core.bus.outbox import record
from core.db import session_factory
from models.events import CourseCompleted
from tests.support.events import build_event
from tests.support.polling import eventually

SERVICE = "progress"


class SampleAggregate:
    """An aggregate without a row, and so without a lock: the test is its only writer."""

    def __init__(self) -> None:
        self.aggregate_id = uuid4().hex[:8]
        self.version = 0


def publish(*keys: SampleAggregate, title: str = "some") -> None:
    """Publish one event of each of ``keys`` in one transaction. Its title is "<key> <number> <title>"."""
    with session_factory(SERVICE).begin() as session:
        for key in keys:
            full_title = f"{key.aggregate_id} {key.version + 1} {title}"
            record(session, key, build_event(CourseCompleted, course_title=full_title))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Message:
    partition: int
    offset: int
    key: str
    headers: dict[str, str]
    value: bytes

    @property
    def sequence(self) -> int:
        return int(self.headers["ce_sequence"])


class KafkaProbe:
    """Access to the topic and the consumer group of SERVICE."""

    topic = property(lambda _: kafka.topic_of(SERVICE))

    def messages(self) -> list[Message]:
        """Return all messages of the topic, partition by partition."""
        reading = {"group.id": uuid4().hex, "enable.partition.eof": True, "fetch.wait.max.ms": 10}
        consumer = Consumer({"bootstrap.servers": settings.KAFKA_BOOTSTRAP_SERVERS, **reading})
        unread = set(range(settings.KAFKA_PARTITIONS))
        consumer.assign([TopicPartition(self.topic, number, 0) for number in unread])
        found: list[Message] = []
        try:
            while unread:
                for message in consumer.consume(num_messages=500, timeout=0.1):
                    if message.error():
                        unread.discard(message.partition())  # end of the partition, or the topic does not exist yet
                    else:
                        headers = {name: value.decode() for name, value in message.headers()}
                        position = message.partition(), message.offset()
                        found.append(Message(*position, message.key().decode(), headers, message.value()))
        finally:
            consumer.close()
        return found

    def sequences(self, key: SampleAggregate) -> list[int]:
        return [message.sequence for message in self.messages() if message.key == key.aggregate_id]

    def committed_messages(self) -> int:
        """Return the number of messages before the committed offsets of the group, over all partitions."""
        partitions = [TopicPartition(self.topic, number) for number in range(settings.KAFKA_PARTITIONS)]
        with self._group() as consumer:
            return sum(max(partition.offset, 0) for partition in consumer.committed(partitions, timeout=5))

    def put(self, offsets: list[TopicPartition]) -> None:
        """Commit offsets for the group of SERVICE."""
        with self._group() as consumer:
            consumer.commit(offsets=offsets, asynchronous=False)

    def _group(self) -> closing[Consumer]:
        group = {"group.id": kafka.group_of(SERVICE), "enable.auto.commit": False}
        return closing(Consumer({"bootstrap.servers": settings.KAFKA_BOOTSTRAP_SERVERS, **group}))

    def delete_topic(self) -> None:
        """Delete the topic, like a broker that lost its disk."""
        admin = AdminClient({"bootstrap.servers": settings.KAFKA_BOOTSTRAP_SERVERS})
        admin.delete_topics([self.topic], operation_timeout=5)[self.topic].result(timeout=5)
        eventually(lambda: self.topic not in admin.list_topics(timeout=5).topics)
