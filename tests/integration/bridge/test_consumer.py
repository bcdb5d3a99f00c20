"""Events from a real broker reach the handlers of a service although workers crash, fail and pause."""

from collections.abc import Iterator
from typing import ClassVar

import msgspec
import pytest
from confluent_kafka import Consumer, TopicPartition

import settings
from bridge import kafka
from bridge.consumer import dispatch, outbound, recent_events, service_consumer
from bridge.record import Record
from core.db import new_id
from core.redis import queue_redis
from models.errors import ProjectionNotReady
from tests.integration.bridge.harness import (
    FAULTS,
    HOLD,
    IN_PROGRESS,
    MAX_IN_PROGRESS,
    OUT_OF_ORDER,
    RELEASE,
    BridgeHarness,
    bridge_harness,
    running_relay,
    wait_until_published,
)
from tests.integration.bridge.kafka_probe import KafkaProbe, SampleAggregate, publish
from tests.support.polling import assert_never, eventually
from tests.support.tasks import Killed

MALFORMED_MESSAGES: list[int] = []  # numbers of messages without an event on the topic


@pytest.fixture(scope="module")
def harness() -> Iterator[BridgeHarness]:
    """Run one bridge for all tests of this file: each test has its own keys, and joining a group takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "KAFKA_PARTITIONS", 3)
        patch.setattr(dispatch, "MAX_BACKOFF_SECONDS", 0.3)
        with bridge_harness("consumer", seconds=40) as harness:
            yield harness


@pytest.fixture(autouse=True)
def drain_after_test(harness: BridgeHarness) -> Iterator[None]:
    yield
    FAULTS.clear()
    RELEASE.set()
    HOLD.set()
    if harness.dispatcher.is_alive():
        eventually(lambda: len(harness.dispatcher) == 0, "the end of all deliveries")
    RELEASE.clear()
    HOLD.clear()


def keys_by_partition(harness: BridgeHarness, count: int) -> list[list[SampleAggregate]]:
    """Return ``count`` keys with one handled event each, by their partition; those of the largest partition first."""
    keys = [SampleAggregate() for _ in range(count)]
    publish(*keys)
    for key in keys:
        harness.wait_for(key)
    partitions = {message.key: message.partition for message in KafkaProbe().messages()}
    found = [[key for key in keys if partitions[key.aggregate_id] == number] for number in range(3)]
    return sorted(found, key=len, reverse=True)


def all_offsets_committed(harness: BridgeHarness) -> bool:
    return KafkaProbe().committed_messages() == harness.database.count("bus.outbox") + sum(MALFORMED_MESSAGES)


def test_key_is_handled_in_order_and_keys_in_parallel(harness: BridgeHarness, monkeypatch):
    monkeypatch.setattr(settings, "EVENTS_PER_MESSAGE", 2)  # the events of one message are handled one after another
    keys = [SampleAggregate() for _ in range(6)]
    MAX_IN_PROGRESS[0] = 0
    for _ in range(5):
        publish(*keys, title="slow")
    for key in keys:
        harness.wait_for(key)

    assert [harness.handled(key) for key in keys] == [[1, 2, 3, 4, 5]] * 6
    assert MAX_IN_PROGRESS[0] > 1


def test_offset_is_committed_after_its_handlers(harness: BridgeHarness):
    eventually(lambda: all_offsets_committed(harness), "the offsets of earlier tests")
    before, key = KafkaProbe().committed_messages(), SampleAggregate()
    publish(key, title="wait")
    eventually(lambda: key.aggregate_id in IN_PROGRESS, "the handler")
    # Longer than the commit interval.
    assert_never(lambda: KafkaProbe().committed_messages() != before, "an offset", seconds=1.5)
    RELEASE.set()

    harness.wait_for(key)
    eventually(lambda: KafkaProbe().committed_messages() == before + 1, "the offset")


def test_event_with_lost_reply_is_handled_once(harness: BridgeHarness):
    key = SampleAggregate()
    harness.fake_workers.drop_replies = 2
    publish(key)
    publish(key)
    harness.wait_for(key)
    eventually(lambda: all_offsets_committed(harness), "the offset")

    assert harness.handled(key) == [1, 2]


def test_event_is_resent_when_worker_dies_before_start(harness: BridgeHarness):
    key = SampleAggregate()
    harness.fake_workers.drop_messages = 2
    publish(key)
    harness.wait_for(key)

    assert harness.handled(key) == [1]


def test_event_is_resent_when_worker_dies_during_handling(harness: BridgeHarness):
    key = SampleAggregate()
    FAULTS["crash"] = [Killed(), Killed()]
    publish(key, title="crash")
    publish(key)
    harness.wait_for(key)

    assert harness.handled(key) == [1, 2]


def test_transient_error_is_retried_without_counting_attempts(harness: BridgeHarness):
    """Six transient errors exceed the five attempts after which a failing event becomes a dead letter."""
    key = SampleAggregate()
    FAULTS["early"] = [ProjectionNotReady("outline", "x") for _ in range(6)]
    publish(key, title="early")
    publish(key)
    harness.wait_for(key, seconds=40)

    assert harness.handled(key) == [1, 2]
    assert harness.open_dead_letters(key) == []


def test_waiting_events_do_not_block_the_event_they_need(harness: BridgeHarness, monkeypatch):
    monkeypatch.setattr(service_consumer, "PARTITION_BUFFER_BYTES", 10_000)  # about four events
    (cause, *_), *others = keys_by_partition(harness, 36)
    effects = [key for keys in others for key in keys[:6]]  # a full partition may not be the one of the cause
    publish(*effects, title="effect")
    waiting = {key.aggregate_id for key in effects}
    eventually(lambda: len(waiting & OUT_OF_ORDER) > 5, "effects that wait")
    publish(cause, title="cause")
    for key in effects:
        harness.wait_for(key)

    assert [harness.open_dead_letters(key) for key in effects] == [[]] * len(effects)


def test_new_event_is_handled_before_old_ones_of_other_keys(harness: BridgeHarness, monkeypatch):
    monkeypatch.setattr(service_consumer, "PARTITION_BUFFER_BYTES", 10_000)  # about four events
    monkeypatch.setattr(service_consumer, "BATCH", 4)
    monkeypatch.setattr(recent_events, "FAR_BEHIND", 5)
    old, new = [SampleAggregate() for _ in range(60)], SampleAggregate()
    publish(*old, title="effect")
    eventually(lambda: len(OUT_OF_ORDER.intersection(key.aggregate_id for key in old)) > 10, "old events")
    publish(new, *old)
    publish(new)
    harness.wait_for(new)
    was_handled_early = [key for key in old if harness.handled(key)]
    RELEASE.set()
    for key in old:
        harness.wait_for(key, seconds=40)

    assert was_handled_early == []
    assert harness.handled(new) == [1, 2]
    assert [harness.handled(key) for key in old] == [[1, 2]] * 60


def test_new_event_behind_one_in_progress_starts_after_it_while_old_ones_wait(harness: BridgeHarness, monkeypatch):
    """The event is read before it may start, and the consumer does not reach it: its partition is paused."""
    monkeypatch.setattr(service_consumer, "PARTITION_BUFFER_BYTES", 10_000)  # about four events
    (new, later, *old), *_ = keys_by_partition(harness, 40)
    publish(new, title="hold")
    eventually(lambda: new.aggregate_id in IN_PROGRESS, "the event in progress")
    publish(*old, title="effect")
    eventually(lambda: {key.aggregate_id for key in old[:4]} <= OUT_OF_ORDER, "old events that wait")
    publish(new)
    publish(later)
    harness.wait_for(later)
    handled_too_early = harness.handled(new)
    HOLD.set()
    harness.wait_for(new)
    old_handled_early = [key for key in old if len(harness.handled(key)) > 1]
    RELEASE.set()

    assert handled_too_early == [1]
    assert harness.handled(new) == [1, 2, 3]
    assert old_handled_early == []


def test_new_event_is_read_after_others_that_fill_the_buffer(harness: BridgeHarness, monkeypatch):
    monkeypatch.setattr(service_consumer, "PARTITION_BUFFER_BYTES", 10_000)  # less than five events
    monkeypatch.setattr(service_consumer, "RECENT_BUFFER_BYTES", 1000)  # less than one event
    (first, second, *old), *_ = keys_by_partition(harness, 40)
    publish(*old[:5], title="effect")
    eventually(lambda: {key.aggregate_id for key in old[:5]} <= OUT_OF_ORDER, "a full partition")
    publish(first, title="hold")
    eventually(lambda: first.aggregate_id in IN_PROGRESS, "the first new event")
    publish(second)
    # Longer than a poll of the consumer.
    assert_never(lambda: harness.handled(second) == [1, 2], "the second new event", seconds=0.5)
    HOLD.set()

    harness.wait_for(second)


def test_failure_does_not_make_transient_errors_count(harness: BridgeHarness):
    key = SampleAggregate()
    FAULTS["both"] = [*(ProjectionNotReady("outline", "x") for _ in range(5)), ValueError("a bug")]
    publish(key, title="both")
    harness.wait_for(key, seconds=40)

    assert harness.open_dead_letters(key) == []


@pytest.mark.parametrize("fault", [ValueError("a bug"), Killed()], ids=repr)
def test_poison_event_is_dead_lettered_and_later_ones_parked(harness: BridgeHarness, fault):
    poisoned, healthy = SampleAggregate(), SampleAggregate()
    FAULTS["poison"] = [fault] * 9
    publish(poisoned)
    publish(poisoned, title="poison")
    publish(poisoned)
    publish(poisoned)
    publish(healthy)
    harness.wait_for(healthy)
    eventually(lambda: len(harness.open_dead_letters(poisoned)) == 3, "the dead letters")

    assert len(FAULTS["poison"]) == 4
    assert harness.handled(poisoned) == [1]
    assert harness.open_dead_letters(poisoned) == [(2, "cause"), (3, "parked"), (4, "parked")]
    eventually(lambda: all_offsets_committed(harness), "the offsets")


def test_every_event_behind_a_dead_letter_is_parked(harness: BridgeHarness):
    """The queue is longer than the buffer of the consumer and than the recursion limit allows."""
    key = SampleAggregate()
    store_dead_letter(harness, key)
    publish(*[key] * 350)
    eventually(lambda: len(harness.open_dead_letters(key)) == 351, "the last dead letter", seconds=60)

    assert [number for number, _ in harness.open_dead_letters(key)] == list(range(351))
    assert harness.handled(key) == []


def test_key_resumes_after_dead_letter_is_replayed(harness: BridgeHarness):
    key = SampleAggregate()
    store_dead_letter(harness, key)
    publish(key)
    eventually(lambda: len(harness.open_dead_letters(key)) == 2, "the dead letter")
    harness.database.execute("UPDATE bus.dead_letters SET status = 'replayed' WHERE key = :key", key=key.aggregate_id)
    publish(key)
    harness.wait_for(key, 1)

    assert harness.handled(key) == [2]


def test_malformed_messages_are_skipped(harness: BridgeHarness):
    key, producer = SampleAggregate(), kafka.producer()
    for event_id, value in (("no-id", b"{}"), (str(new_id()), b"{no JSON"), (str(new_id()), None)):
        headers = [("ce_id", event_id), ("ce_type", "COURSE_COMPLETED")]
        producer.produce(KafkaProbe().topic, key=key.aggregate_id, value=value, headers=headers)
    assert producer.flush(10) == 0
    MALFORMED_MESSAGES.append(3)
    publish(key)
    harness.wait_for(key)

    eventually(lambda: all_offsets_committed(harness), "the offsets")


def store_dead_letter(harness: BridgeHarness, key: SampleAggregate) -> None:
    headers = {"ce_id": str(new_id()), "ce_type": "COURSE_COMPLETED", "ce_sequence": "0"}
    record = Record("progress", 0, 0, key.aggregate_id, headers, msgspec.Raw(b"{}"))
    assert harness.dead_letters.store("progress.recording_handler", record, "a bug")


def test_stopped_service_does_not_block_others(harness: BridgeHarness):
    key = SampleAggregate()
    with harness.idle_workers.paused():
        for _ in range(5):
            publish(key)
        harness.wait_for(key)
        assert harness.done(key, "notifications.idle_handler") == 0
    eventually(lambda: harness.done(key, "notifications.idle_handler") == 5, "the events of the paused service")

    assert harness.handled(key) == [1, 2, 3, 4, 5]


def test_events_queued_during_outage_are_handled_once(harness: BridgeHarness):
    """The message is in the queue, so the bridge neither sends it again nor counts a failed attempt."""
    key = SampleAggregate()
    with harness.fake_workers.paused():
        publish(key)
        eventually(lambda: queue_redis().llen("progress"), "the message")
        # Longer than REPLY_TIMEOUT_SECONDS.
        assert_never(lambda: queue_redis().llen("progress") != 1, "another message", seconds=1)
    harness.wait_for(key)

    assert harness.handled(key) == [1]
    failed = "SELECT count(*) FROM bus.handler_failures JOIN bus.outbox ON event_id = id WHERE aggregateid = :key"
    assert harness.database.value(failed + " AND handler = 'progress.recording_handler'", key=key.aggregate_id) == 0


def test_new_bridge_takes_over_in_flight_events(harness: BridgeHarness):
    """The offset was not committed, so a new bridge delivers the event even if Redis lost it."""
    harness.close()
    key = SampleAggregate()
    with pytest.MonkeyPatch.context() as patch, harness.fake_workers.paused():
        patch.setattr(service_consumer, "DRAIN_SECONDS", 0)
        with BridgeHarness(harness.database):
            publish(key)
            publish(key)
            eventually(lambda: queue_redis().llen("progress"), "the message")
        queue_redis().delete("progress")
    with BridgeHarness(harness.database) as successor:
        successor.wait_for(key, seconds=40)
        eventually(lambda: all_offsets_committed(harness), "the offsets")

    assert harness.handled(key) == [1, 2]


def test_stopped_bridge_sends_events_that_wait_for_others(harness: BridgeHarness, monkeypatch: pytest.MonkeyPatch):
    harness.close()
    monkeypatch.setattr(outbound, "is_urgent", lambda _: False)
    monkeypatch.setattr(settings, "EVENT_GATHER_MS", 60_000)
    key = SampleAggregate()
    with BridgeHarness(harness.database) as other:
        publish(key)
        eventually(lambda: len(other.dispatcher) == 2, "the event at both handlers")
        assert harness.handled(key) == []

    assert harness.handled(key) == [1]


def test_consumer_rejoins_when_committed_offsets_time_out(harness: BridgeHarness, monkeypatch: pytest.MonkeyPatch):
    class TimingOutConsumer(Consumer):
        members: ClassVar[list[Consumer]] = []  # kept: the id of a collected one could be used again

        def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
            first = not self.members
            if self not in self.members:
                self.members.append(self)
            return super().committed(partitions, timeout=0 if first else timeout)

    monkeypatch.setattr(kafka, "Consumer", TimingOutConsumer)
    key = SampleAggregate()
    with BridgeHarness(harness.database) as other:
        eventually(lambda: len(TimingOutConsumer.members) > 2, "another attempt")
        publish(key)
        harness.wait_for(key)
        assert all(thread.is_alive() for thread in other.threads)


def test_offset_from_previous_log_is_ignored(harness: BridgeHarness):
    """A bridge that has not noticed the loss of the log yet can commit such an offset."""
    harness.close()
    key = SampleAggregate()
    for _ in range(5):
        publish(key)
    with running_relay(harness.database):
        wait_until_published(harness.database)
    ends = {message.partition: message.offset + 1 for message in KafkaProbe().messages()}
    KafkaProbe().put([TopicPartition(KafkaProbe().topic, number, end, "of another") for number, end in ends.items()])
    with BridgeHarness(harness.database) as successor:
        successor.wait_for(key, seconds=40)

    assert harness.handled(key) == [1, 2, 3, 4, 5]
