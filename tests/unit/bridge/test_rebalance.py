"""Records fetched before a rebalance must not be started after it."""

import threading
import time
from collections.abc import Callable, Iterable
from uuid import uuid4

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, Message, TopicPartition

from bridge import kafka
from bridge.consumer.dispatch import Dispatcher
from bridge.consumer.service_consumer import ServiceConsumer
from bridge.record import Partition, Record
from bridge.topics import TopicIdWatcher

TOPIC, PARTITION = "progress", 1
EMPTY_POLL, REVOKED, ASSIGNED = "empty poll", "revoked", "assigned"

RebalanceCallback = Callable[["FakeConsumer", list[TopicPartition]], None]


class FakeConsumer:
    """A fake of the client: like librdkafka, it calls ``on_revoke`` within ``poll`` and ``consume``, between
    records.
    """

    def __init__(self, *script: "Message | str") -> None:
        self.script = list(script)
        self._on_revoke: RebalanceCallback = lambda *_: None
        self._on_assign: RebalanceCallback = lambda *_: None
        self.stored: list[int] = []

    def subscribe(self, _topics: list[str], **callbacks: RebalanceCallback) -> None:
        self._on_revoke, self._on_assign = callbacks["on_revoke"], callbacks["on_assign"]

    def poll(self, _timeout: float) -> Message | None:
        return next(iter(self.consume(num_messages=1)), None)

    def consume(self, *, num_messages: int, **_: float) -> list[Message]:
        messages: list[Message] = []
        while self.script and len(messages) < num_messages:
            step = self.script.pop(0)
            if step == EMPTY_POLL:
                break
            if step == REVOKED:
                self._on_revoke(self, [TopicPartition(TOPIC, PARTITION)])
            elif step == ASSIGNED:
                self._on_assign(self, [TopicPartition(TOPIC, PARTITION)])
            else:
                messages.append(step)
        return messages

    def store_offsets(self, offsets: list[TopicPartition]) -> None:
        self.stored += [each.offset for each in offsets]

    def get_watermark_offsets(self, _partition: TopicPartition, **_: bool) -> tuple[int, int]:
        return 0, 0

    def pause(self, _partitions: list[TopicPartition]) -> None: ...

    def assignment(self) -> list[TopicPartition]:
        return []

    def close(self) -> None: ...


class RecordingDispatcher(Dispatcher):
    """Records the offsets of dispatched records; none of them ever ends."""

    def __init__(self) -> None:
        self.offsets: list[int] = []

    def dispatch(self, _handler: str, record: Record, _done: Callable[[], None]) -> None:
        self.offsets.append(record.offset)

    def discard_unsent(self, _service: str, _partitions: Iterable[Partition]) -> list[Record]:
        return []


class FixedTopicIds(TopicIdWatcher):
    def __init__(self) -> None: ...

    def ids(self, topics: list[str]) -> dict[str, str]:
        return dict.fromkeys(topics, "id")


def event(offset: int) -> Message:
    headers = [("ce_id", str(uuid4()).encode()), ("ce_type", b"LESSON_COMPLETED")]
    written_at = (TIMESTAMP_CREATE_TIME, int(time.time() * 1000))
    position = {"topic": TOPIC, "partition": PARTITION, "offset": offset, "timestamp": written_at}
    return Message(**position, key=b"ann", value=b"{}", headers=headers)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ([event(0), EMPTY_POLL, event(1), REVOKED], [0]),
        ([event(0), EMPTY_POLL, event(1), event(2), REVOKED, EMPTY_POLL], [0]),
        ([event(0), event(1), REVOKED], []),
        # The consumer starts again from the committed offset.
        ([event(0), event(1), REVOKED, ASSIGNED, event(0)], [0]),
    ],
    ids=["alone", "in a batch", "in the first batch", "assigned again"],
)
def test_fetched_record_is_not_started_after_revocation(
    monkeypatch: pytest.MonkeyPatch, script: list[Message | str], expected: list[int]
):
    # Another bridge takes over all records of the key. If this bridge started the second one, it could overtake the
    # first.
    group = FakeConsumer(*script)
    monkeypatch.setattr(kafka, "consumer", lambda _service: group)
    monkeypatch.setattr("bridge.consumer.service_consumer.DRAIN_SECONDS", 0)
    stop, started = threading.Event(), RecordingDispatcher()
    consumer = ServiceConsumer("courses", started, FixedTopicIds(), stop)
    monkeypatch.setattr(consumer, "_apply_backpressure", lambda _consumer: group.script or stop.set())

    consumer.run()

    assert started.offsets == expected
    assert group.stored == []
