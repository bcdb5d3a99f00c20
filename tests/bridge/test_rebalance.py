"""What was fetched before a rebalance and what comes after it must not mix."""

import threading
import time
from collections.abc import Callable, Iterable
from uuid import uuid4

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, Message, TopicPartition

from bridge import kafka
from bridge.consume import ServiceConsumer
from bridge.dispatch import Dispatcher
from bridge.lanes import Partition, Record
from bridge.topics import TopicWatch

TOPIC, PARTITION = "progress", 1
NOTHING_YET, TAKEN_AWAY = "nothing yet", "taken away"

Told = Callable[["Group", list[TopicPartition]], None]


class Group:
    """A client as librdkafka has it: a rebalance is told from within ``poll`` and ``consume``, between two records."""

    def __init__(self, *coming: "Message | str") -> None:
        self.coming = list(coming)
        self._told: Told = lambda *_: None
        self.stored: list[int] = []

    def subscribe(self, _topics: list[str], **callbacks: Told) -> None:
        self._told = callbacks["on_revoke"]

    def poll(self, _timeout: float) -> Message | None:
        return next(iter(self.consume(num_messages=1)), None)

    def consume(self, *, num_messages: int, **_: float) -> list[Message]:
        got: list[Message] = []
        while self.coming and len(got) < num_messages:
            coming = self.coming.pop(0)
            if coming == NOTHING_YET:
                break
            if coming == TAKEN_AWAY:
                self._told(self, [TopicPartition(TOPIC, PARTITION)])
            else:
                got.append(coming)
        return got

    def store_offsets(self, offsets: list[TopicPartition]) -> None:
        self.stored += [each.offset for each in offsets]

    def pause(self, _partitions: list[TopicPartition]) -> None: ...

    def assignment(self) -> list[TopicPartition]:
        return []

    def close(self) -> None: ...


class Started(Dispatcher):
    """Which records were given to a handler; none of them ever ends."""

    def __init__(self) -> None:
        self.offsets: list[int] = []

    def dispatch(self, _handler: str, record: Record, _done: Callable[[], None]) -> None:
        self.offsets.append(record.offset)

    def forget(self, _service: str, _partitions: Iterable[Partition]) -> list[Record]:
        return []


class Known(TopicWatch):
    def __init__(self) -> None: ...

    def ids(self, topics: list[str]) -> dict[str, str]:
        return dict.fromkeys(topics, "id")


def event(offset: int) -> Message:
    headers = [("ce_id", str(uuid4()).encode()), ("ce_type", b"LESSON_COMPLETED")]
    written_at = (TIMESTAMP_CREATE_TIME, int(time.time() * 1000))
    place = {"topic": TOPIC, "partition": PARTITION, "offset": offset, "timestamp": written_at}
    return Message(**place, key=b"ann", value=b"{}", headers=headers)


def test_what_was_fetched_of_a_partition_is_not_begun_when_the_partition_is_gone(monkeypatch: pytest.MonkeyPatch):
    # The second of a key waits behind the first when another bridge takes both: begun, it would pass by the first.
    group = Group(event(0), NOTHING_YET, event(1), TAKEN_AWAY)
    monkeypatch.setattr(kafka, "consumer", lambda _service: group)
    monkeypatch.setattr("bridge.consume.DRAIN_SECONDS", 0)
    stop, started = threading.Event(), Started()
    consumer = ServiceConsumer("courses", started, Known(), stop)
    monkeypatch.setattr(consumer, "_hold_back", lambda _consumer: group.coming or stop.set())

    consumer.run()

    assert started.offsets == [0]
    assert group.stored == []
