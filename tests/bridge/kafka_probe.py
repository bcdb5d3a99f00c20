"""Events put into the outbox, and what of them lies on the topics."""

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
    """An aggregate whose row needs no locking: a test is its only writer."""

    def __init__(self) -> None:
        self.aggregate_id = uuid4().hex[:8]
        self.version = 0


def publish(*keys: SampleAggregate, title: str = "some") -> None:
    """One event of each of ``keys``, committed together. It tells its key, and which of the key's events it is."""
    with session_factory(SERVICE).begin() as session:
        for key in keys:
            told = f"{key.aggregate_id} {key.version + 1} {title}"
            record(session, key, build_event(CourseCompleted, course_title=told))  # type: ignore[arg-type]


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
    """The topic of SERVICE."""

    topic = property(lambda _: kafka.topic_of(SERVICE))

    def messages(self) -> list[Message]:
        """All that lies there, partition by partition."""
        reading = {"group.id": uuid4().hex, "enable.partition.eof": True, "fetch.wait.max.ms": 10}
        consumer = Consumer({"bootstrap.servers": settings.KAFKA_BOOTSTRAP_SERVERS, **reading})
        unread = set(range(settings.KAFKA_PARTITIONS))
        consumer.assign([TopicPartition(self.topic, number, 0) for number in unread])
        found: list[Message] = []
        try:
            while unread:
                for message in consumer.consume(num_messages=500, timeout=0.1):
                    if message.error():
                        unread.discard(message.partition())  # its end, or there is no such topic yet
                    else:
                        headers = {name: value.decode() for name, value in message.headers()}
                        place = message.partition(), message.offset()
                        found.append(Message(*place, message.key().decode(), headers, message.value()))
        finally:
            consumer.close()
        return found

    def sequences(self, key: SampleAggregate) -> list[int]:
        return [message.sequence for message in self.messages() if message.key == key.aggregate_id]

    def committed_messages(self) -> int:
        """How many messages the group of SERVICE has behind it, over all partitions."""
        partitions = [TopicPartition(self.topic, number) for number in range(settings.KAFKA_PARTITIONS)]
        with self._group() as consumer:
            return sum(max(place.offset, 0) for place in consumer.committed(partitions, timeout=5))

    def put(self, places: list[TopicPartition]) -> None:
        """Commit in the name of the group of SERVICE."""
        with self._group() as consumer:
            consumer.commit(offsets=places, asynchronous=False)

    def _group(self) -> closing[Consumer]:
        group = {"group.id": kafka.group_of(SERVICE), "enable.auto.commit": False}
        return closing(Consumer({"bootstrap.servers": settings.KAFKA_BOOTSTRAP_SERVERS, **group}))

    def delete_topic(self) -> None:
        """Take the topic away, as a broker does that has lost its disk."""
        admin = AdminClient({"bootstrap.servers": settings.KAFKA_BOOTSTRAP_SERVERS})
        admin.delete_topics([self.topic], operation_timeout=5)[self.topic].result(timeout=5)
        eventually(lambda: self.topic not in admin.list_topics(timeout=5).topics)
