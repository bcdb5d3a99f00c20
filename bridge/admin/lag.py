"""Lag of the consumer groups, in events and in seconds."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from bridge import kafka
from bridge.consumer.service_consumer import ServiceConsumer

READ_TIMEOUT_SECONDS = 10


@dataclass(frozen=True)
class PartitionLag:
    """The lag of a group in one partition: handled below ``committed``, published below ``end``."""

    topic: str
    partition: int
    committed: int
    end: int
    oldest_at: float | None  # seconds since 1970: when the first unhandled event was published

    @property
    def events(self) -> int:
        return self.end - self.committed

    @property
    def seconds(self) -> float:
        return max(time.time() - self.oldest_at, 0) if self.oldest_at else 0.0


def consumer_lag(service: str) -> list[PartitionLag]:
    """Return the lag of the group of ``service`` in each partition that it reads. Raises KafkaException."""
    client_errors: list[KafkaError] = []
    consumer = kafka.offset_reader(service, client_errors.append)
    try:
        partitions = list(_partitions(consumer, ServiceConsumer.topics_of(service)))
        committed = {_partition_key(each): max(each.offset, 0) for each in consumer.committed(partitions, timeout=5)}
        # Read from the partition: it is the only way to get the true end from every broker, because some report the
        # end for whole batches only.
        places = [TopicPartition(topic, number, offset) for (topic, number), offset in committed.items()]
        firsts = _first_unread(consumer, places)
        return [_lag(consumer, name, offset, firsts.get(name)) for name, offset in committed.items()]
    except KafkaException as error:
        # A call that timed out does not say that the login was refused.
        consumer.poll(0)
        refused = [each for each in client_errors if each.code() == KafkaError._AUTHENTICATION]  # noqa: SLF001
        raise KafkaException(refused[0]) if refused else error from None
    finally:
        consumer.close()


def _partitions(consumer: Consumer, topics: list[str]) -> Iterator[TopicPartition]:
    for topic in topics:
        for number in consumer.list_topics(topic, timeout=5).topics[topic].partitions:
            yield TopicPartition(topic, number)


def _first_unread(consumer: Consumer, places: list[TopicPartition]) -> dict[tuple[str, int], Message]:
    """Return the first message at or after each offset, without partitions that end there. Raises KafkaException."""
    consumer.assign(places)
    unknown = {_partition_key(place) for place in places}
    firsts: dict[tuple[str, int], Message] = {}
    deadline = time.monotonic() + READ_TIMEOUT_SECONDS
    while unknown and time.monotonic() < deadline:
        for message in consumer.consume(num_messages=100, timeout=0.2):
            error = message.error()
            if error and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 has no public name
                raise KafkaException(error)
            name = (str(message.topic()), int(message.partition() or 0))
            if not error:
                firsts.setdefault(name, message)
            unknown.discard(name)
    if unknown:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001 has no public name
    return firsts


def _lag(consumer: Consumer, name: tuple[str, int], committed: int, first: Message | None) -> PartitionLag:
    topic, number = name
    _low, end = consumer.get_watermark_offsets(TopicPartition(topic, number), cached=True)
    if first is None:
        return PartitionLag(topic, number, committed, committed, None)
    oldest_at: Any = first.timestamp()[1] / 1000
    return PartitionLag(topic, number, int(first.offset() or 0), end, oldest_at)


def _partition_key(place: TopicPartition) -> tuple[str, int]:
    return place.topic, place.partition
