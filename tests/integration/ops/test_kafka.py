"""The development broker: a waiting fetch ends when a record arrives, and nothing survives the proxy."""

import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

import settings
from ops.dev.kafka import has_records_or_errors
from ops.dev.ports import OFFSETS, free_base, is_free, is_open
from ops.dev.readiness import wait

TOPIC_ID = b"t" * 16


class Broker:
    def __init__(self) -> None:
        base = free_base()
        self.port, self.inner_port = base + OFFSETS["kafka"], base + OFFSETS["tansu"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ops.dev.kafka"],
            cwd=settings.ROOT,
            env={**os.environ, "PORT_BASE": str(base)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait(lambda: is_open(self.port), "broker", 30)
        self.client = {"bootstrap.servers": f"127.0.0.1:{self.port}"}

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def broker() -> Iterator[Broker]:
    running = Broker()
    yield running
    running.kill()


def test_waiting_fetch_ends_when_a_record_is_produced(broker):
    admin = AdminClient(broker.client)
    [created] = admin.create_topics([NewTopic("events", 1, 1)]).values()
    created.result()
    consumer = Consumer({**broker.client, "group.id": uuid4().hex, "fetch.wait.max.ms": 20_000})
    consumer.assign([TopicPartition("events", 0, 0)])
    assert consumer.poll(1) is None  # its fetch waits at the broker

    producer = Producer(broker.client)
    producer.produce("events", b"first")
    producer.flush(10)
    started = time.monotonic()
    message = consumer.poll(10)
    waited = time.monotonic() - started
    consumer.close()

    assert message.value() == b"first"
    assert waited < 5


def test_broker_ends_with_its_proxy(broker):
    assert not is_free(broker.inner_port)
    broker.kill()
    wait(lambda: is_free(broker.inner_port), "end of the broker", 10)


@pytest.mark.parametrize(
    ("partitions", "error", "expected"),
    [
        ([], 0, False),
        ([(0, b"\x00")], 0, False),
        ([(0, b"\x01"), (0, b"\x01")], 0, False),
        ([(0, b"\x01"), (0, b"\x03ab")], 0, True),
        ([(0, b"\x81\x01" + b"r" * 128)], 0, True),
        ([(1, b"\x01")], 0, True),
        ([], 7, True),
    ],
    ids=["empty", "null", "no records", "records in the second", "long records", "partition error", "error"],
)
def test_replies_with_records_or_errors_are_not_held(partitions, error, expected):
    rows = [
        struct.pack(">ihqqq", 0, code, 5, 5, 0) + b"\x00" + b"\xff" * 4 + records + b"\x00"
        for code, records in partitions
    ]
    topics = b"\x02" + TOPIC_ID + bytes([len(rows) + 1]) + b"".join(rows) + b"\x00" if rows else b"\x01"
    response = struct.pack(">ibihi", 1, 0, 0, error, 0) + topics + b"\x00"

    assert has_records_or_errors(response) is expected
