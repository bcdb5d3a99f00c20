"""The development broker does what the product relies on at Apache Kafka."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

import settings
from ops.dev.kafka.errors import ErrorCode
from ops.dev.kafka.errors import KafkaError as BrokerError
from ops.dev.kafka.topics import Partition
from ops.dev.ports import OFFSETS, free_base, is_open
from ops.dev.readiness import wait

TOPIC = "events"


class Broker:
    def __init__(self) -> None:
        self.base = free_base()
        self.client = {"bootstrap.servers": f"127.0.0.1:{self.base + OFFSETS['kafka']}"}
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ops.dev.kafka"],
            cwd=settings.ROOT,
            env={**os.environ, "PORT_BASE": str(self.base)},
        )
        wait(lambda: is_open(self.base + OFFSETS["kafka"]), "broker", 30)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def create_topic(self, partitions: int = 1, **config: str) -> str:
        """Create TOPIC and return its id."""
        admin = AdminClient(self.client)
        topic = NewTopic(TOPIC, partitions, 1, config={name.replace("_", "."): value for name, value in config.items()})
        admin.create_topics([topic])[TOPIC].result(10)
        return str(admin.describe_topics(TopicCollection([TOPIC]))[TOPIC].result(10).topic_id)

    def produce(self, *values: bytes) -> list[KafkaError | None]:
        """Produce ``values``, with themselves as keys, and return the outcome of each."""
        outcomes: list[KafkaError | None] = []
        producer = Producer({**self.client, "enable.idempotence": True})
        for value in values:
            producer.produce(TOPIC, value, key=value, on_delivery=lambda error, _: outcomes.append(error))
        assert producer.flush(10) == 0
        return outcomes

    def consumer(self, group: str, **config: object) -> closing[Consumer]:
        given: dict[str, Any] = {"enable.auto.commit": False, "auto.offset.reset": "earliest", **config}
        return closing(Consumer({**self.client, "group.id": group, **given}))


@pytest.fixture
def broker() -> Iterator[Broker]:
    running = Broker()
    yield running
    running.kill()


def test_waiting_fetch_ends_when_a_record_is_produced(broker: Broker):
    broker.create_topic()
    with broker.consumer(uuid4().hex, **{"fetch.wait.max.ms": 20_000}) as consumer:
        consumer.assign([TopicPartition(TOPIC, 0, 0)])
        assert consumer.poll(1) is None  # its fetch waits at the broker

        broker.produce(b"first")
        started = time.monotonic()
        message = consumer.poll(10)
        waited = time.monotonic() - started

    assert message is not None
    assert message.value() == b"first"
    assert waited < 5


def test_members_share_partitions_without_losing_their_own(broker: Broker):
    broker.create_topic(partitions=3)
    group = {"partition.assignment.strategy": "cooperative-sticky", "heartbeat.interval.ms": 100}
    with broker.consumer("group", **group) as first:
        first.subscribe([TOPIC])
        wait(lambda: first.poll(0.05) is None and len(first.assignment()) == 3, "all partitions", 10)
        kept = {each.partition for each in first.assignment()}
        with broker.consumer("group", **group) as second:
            second.subscribe([TOPIC])

            def is_balanced() -> bool:
                for member in (first, second):
                    member.poll(0.05)
                return [len(first.assignment()), len(second.assignment())] == [2, 1]

            wait(is_balanced, "two and one partitions", 10)
            assert {each.partition for each in first.assignment()} < kept
        wait(lambda: first.poll(0.05) is None and len(first.assignment()) == 3, "all partitions again", 10)


def test_killed_member_loses_its_partitions_after_the_session_timeout(broker: Broker):
    broker.create_topic()
    short: dict[str, Any] = {"session.timeout.ms": 1000, "heartbeat.interval.ms": 100}
    program = f"""
import sys, time
from confluent_kafka import Consumer
consumer = Consumer({ {**broker.client, **short, "group.id": "group"} })
consumer.subscribe(["{TOPIC}"])
while not consumer.assignment():
    consumer.poll(0.05)
print("assigned", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as member:
        assert member.stdout is not None
        assert member.stdout.readline() == "assigned\n"
        member.kill()
        with broker.consumer("group", **short) as successor:
            successor.subscribe([TOPIC])
            wait(lambda: successor.poll(0.05) is None and bool(successor.assignment()), "the partition", 10)


def test_offset_is_stored_with_metadata_until_the_topic_is_deleted(broker: Broker):
    broker.create_topic()
    admin = AdminClient(broker.client)  # must stay alive until the result is read
    with broker.consumer("group") as consumer:
        consumer.commit(offsets=[TopicPartition(TOPIC, 0, 5, "topic id")], asynchronous=False)
        [stored] = consumer.committed([TopicPartition(TOPIC, 0)], timeout=5)
        admin.delete_topics([TOPIC])[TOPIC].result(10)
        broker.create_topic()
        [deleted] = consumer.committed([TopicPartition(TOPIC, 0)], timeout=5)

    assert (stored.offset, stored.metadata) == (5, "topic id")
    assert deleted.offset < 0


def test_restart_loses_the_log_and_gives_topics_other_ids(broker: Broker):
    before = broker.create_topic()
    broker.produce(b"lost")
    broker.kill()
    broker.start()
    after = broker.create_topic()

    assert before != after
    with broker.consumer(uuid4().hex, **{"enable.partition.eof": True}) as consumer:
        consumer.assign([TopicPartition(TOPIC, 0, 0)])
        message = consumer.poll(10)
    assert message is not None
    assert message.error().code() == KafkaError._PARTITION_EOF  # noqa: SLF001 has no public name


def test_message_above_the_limit_of_its_topic_is_refused(broker: Broker):
    broker.create_topic(max_message_bytes="1000")

    [accepted, refused] = broker.produce(b"small") + broker.produce(os.urandom(2000))

    assert accepted is None
    assert refused is not None
    assert refused.code() == KafkaError.MSG_SIZE_TOO_LARGE


def test_unknown_topic_cannot_be_read(broker: Broker):
    with broker.consumer(uuid4().hex) as consumer, pytest.raises(KafkaException):
        consumer.get_watermark_offsets(TopicPartition(TOPIC, 0), timeout=2)


def batch(sequence: int, epoch: int = 0) -> bytes:
    """Return the header of a batch of one record, by producer 7."""
    head = (0).to_bytes(8) + (49).to_bytes(4) + bytes(4) + b"\x02" + bytes(6)
    producer = (7).to_bytes(8) + epoch.to_bytes(2) + sequence.to_bytes(4)
    return head + bytes(4) + bytes(16) + producer + (1).to_bytes(4)


def test_repeated_batch_is_stored_once():
    partition = Partition(max_message_bytes=1000)

    offsets = [partition.append(batch(sequence)) for sequence in (0, 1, 1, 0, 2)]

    assert offsets == [0, 1, 1, 0, 2]
    assert partition.end == 3
    with pytest.raises(BrokerError) as gap:
        partition.append(batch(4))
    assert gap.value.code is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert partition.append(batch(0, epoch=1)) == 3
    with pytest.raises(BrokerError) as stale:
        partition.append(batch(3))
    assert stale.value.code is ErrorCode.INVALID_PRODUCER_EPOCH
