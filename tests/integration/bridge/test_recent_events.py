"""New events that are read before the old ones are kept until they may start."""

from uuid import UUID

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, KafkaException, Message, TopicPartition
from sqlalchemy.exc import OperationalError

from bridge import kafka
from bridge.consumer import recent_events
from bridge.consumer.arrival import Arrival
from bridge.consumer.handled_events import find_unhandled
from bridge.consumer.recent_events import RecentEvents
from core.db import utc_now
from tests.integration.bridge.kafka_probe import SERVICE, SampleAggregate, publish
from tests.support.databases import Database

HANDLER = f"{SERVICE}.some_handler"


class FakeConsumer:
    """A Kafka client that returns the messages it is given."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.offsets: list[int] = []
        self.fails = False

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        self.offsets += [each.offset for each in partitions]

    def consume(self, **_: float) -> list[Message]:
        if self.fails:
            self.fails = False
            raise KafkaException("a fault of the client")
        messages, self.messages = self.messages, []
        return messages

    def close(self) -> None: ...


@pytest.fixture
def consumer(monkeypatch: pytest.MonkeyPatch) -> FakeConsumer:
    """The Kafka client of the events that are read."""
    fake = FakeConsumer()
    monkeypatch.setattr(kafka, "tail_reader", lambda _: fake)
    return fake


@pytest.fixture
def recent(consumer: FakeConsumer) -> RecentEvents:
    """The reader of a partition that is far behind."""
    reader = RecentEvents(SERVICE, lambda _: [HANDLER])
    reader.follow({PARTITION: 10}, {PARTITION: 5000}, paused=set())
    return reader


PARTITION = (SERVICE, 0)


def published(database: Database, key: SampleAggregate, offset: int) -> Message:
    """Publish an event of ``key``; return its message."""
    publish(key)
    [(event_id, sequence)] = database.rows(
        "SELECT id, aggregate_version FROM bus.outbox WHERE aggregateid = :key ORDER BY seq DESC LIMIT 1",
        key=key.aggregate_id,
    )
    headers = {
        "ce_id": str(event_id),
        "ce_type": "COURSE_COMPLETED",
        "ce_sequence": str(sequence),
        "ce_time": utc_now().isoformat(),
    }
    return Message(
        topic=PARTITION[0],
        partition=PARTITION[1],
        offset=offset,
        key=key.aggregate_id.encode(),
        value=b"{}",
        headers=[(name, value.encode()) for name, value in headers.items()],
        timestamp=(TIMESTAMP_CREATE_TIME, int(utc_now().timestamp() * 1000)),
    )


def start(recent: RecentEvents, *ended: str) -> list[int]:
    """Return the offsets of the events that start, after events of the keys ``ended``."""
    arrivals = recent.poll({(PARTITION, key) for key in ended})
    return [record.offset for record in recent.may_start(arrivals, held=())]


def handle(database: Database, message: Message) -> None:
    event_id = UUID(Arrival(message).event_id)
    database.execute("INSERT INTO bus.inbox VALUES (:handler, :id, now())", handler=HANDLER, id=event_id)


def test_event_starts_when_the_one_before_it_ends(database: Database, recent: RecentEvents, consumer: FakeConsumer):
    key, other = SampleAggregate(), SampleAggregate()
    first = published(database, key, 20)
    consumer.messages = [published(database, key, 4500), published(database, key, 4501)]
    started = [start(recent)]
    handle(database, first)
    started += [start(recent, other.aggregate_id), start(recent, key.aggregate_id), start(recent, key.aggregate_id)]

    assert started == [[], [], [4500, 4501], []]
    assert not recent.has_waiting


def test_event_starts_after_the_database_did_not_answer(
    database: Database, recent: RecentEvents, consumer: FakeConsumer, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> None:
        raise OperationalError("SELECT", {}, Exception("statement timeout"))

    consumer.messages = [published(database, SampleAggregate(), 4500)]
    monkeypatch.setattr(recent_events, "find_unhandled", fail)
    started = [start(recent), start(recent)]
    monkeypatch.setattr(recent_events, "find_unhandled", find_unhandled)
    started.append(start(recent))

    assert started == [[], [], [4500]]


def test_reading_continues_where_the_client_failed(database: Database, recent: RecentEvents, consumer: FakeConsumer):
    consumer.messages = [published(database, SampleAggregate(), 4500)]
    start(recent)
    consumer.fails = True
    start(recent)
    recent.follow({PARTITION: 10}, {PARTITION: 9000}, paused=set())

    assert consumer.offsets == [4000, 4501]


def test_waiting_events_end_when_the_consumer_reads_them(
    database: Database, recent: RecentEvents, consumer: FakeConsumer
):
    key = SampleAggregate()
    published(database, key, 20)
    consumer.messages = [published(database, key, 4500)]
    start(recent)
    recent.follow({PARTITION: 4501}, {PARTITION: 9000}, paused=set())

    assert not recent.has_waiting


def test_waiting_events_are_bounded(
    database: Database, recent: RecentEvents, consumer: FakeConsumer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(recent_events, "WAITING_BYTES", 5000)  # of two events
    key = SampleAggregate()
    first = published(database, key, 20)
    consumer.messages = [published(database, key, 4500 + number) for number in range(3)]
    start(recent)
    handle(database, first)

    assert [arrival.offset for arrival in recent.poll({(PARTITION, key.aggregate_id)})] == [4501, 4502]
    assert start(recent, key.aggregate_id) == []  # the first one waits for the consumer, and so do these


@pytest.mark.parametrize(("end", "offset"), [(15, 10), (5000, 4000)])
def test_paused_partition_is_read_whatever_end_is_known(consumer: FakeConsumer, end: int, offset: int):
    recent = RecentEvents(SERVICE, lambda _: [HANDLER])
    recent.follow({PARTITION: 10}, {PARTITION: end}, paused={PARTITION})

    assert consumer.offsets == [offset]
    assert recent.is_reading
