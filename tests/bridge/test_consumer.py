"""From a real broker to the handlers of a service, by workers that die, stumble and sleep."""

from collections.abc import Iterator
from typing import ClassVar

import msgspec
import pytest
from confluent_kafka import Consumer, TopicPartition

import settings
from bridge import consume, dispatch, kafka
from bridge.lanes import Record
from models.base import new_id
from models.errors import ProjectionBehind
from models.redis import queue_redis
from tests.bridge.house import FAULTS, HELD, MOST_UNDER_WAY, TOO_EARLY, UNDER_WAY, House, house_in
from tests.bridge.wire import Key, Wire, tell
from tests.support.tasks import Killed
from tests.support.waiting import eventually, never

NO_EVENTS: list[int] = []  # how many messages without an event were put on the topic


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    """One for all tests of this file: each tells of keys of its own, and joining a group takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "KAFKA_PARTITIONS", 3)
        patch.setattr(dispatch, "LONGEST_WAIT_SECONDS", 0.3)
        with house_in("consumer", seconds=40) as house:
            yield house


@pytest.fixture(autouse=True)
def at_rest(house: House) -> Iterator[None]:
    yield
    FAULTS.clear()
    HELD.clear()
    if house.dispatcher.is_alive():
        eventually(lambda: len(house.dispatcher) == 0, "the end of all deliveries", seconds=30)


def all_stored(house: House) -> bool:
    return Wire().stored_offsets() == house.database.count("bus.outbox") + sum(NO_EVENTS)


def test_a_key_is_taken_in_its_order_and_keys_in_parallel(house: House):
    keys = [Key() for _ in range(6)]
    MOST_UNDER_WAY[0] = 0
    for _ in range(5):
        tell(*keys, title="slow")
    for key in keys:
        house.wait_for(key)

    assert [house.noted(key) for key in keys] == [[1, 2, 3, 4, 5]] * 6
    assert MOST_UNDER_WAY[0] > 1


def test_an_offset_is_stored_only_when_its_handlers_have_committed(house: House):
    eventually(lambda: all_stored(house), "the offsets of earlier tests")
    before, key = Wire().stored_offsets(), Key()
    tell(key, title="wait")
    eventually(lambda: key.aggregate_id in UNDER_WAY, "the handler")
    never(lambda: Wire().stored_offsets() != before, "an offset", seconds=1.5)  # longer than the commit interval
    HELD.set()

    house.wait_for(key)
    eventually(lambda: Wire().stored_offsets() == before + 1, "the offset")


def test_an_event_whose_reply_is_lost_is_sent_again_and_done_once(house: House):
    key = Key()
    house.hands.lose_replies = 2
    tell(key)
    tell(key)
    house.wait_for(key)
    eventually(lambda: all_stored(house), "the offset")

    assert house.noted(key) == [1, 2]


def test_an_event_whose_worker_dies_before_it_begins_is_sent_again(house: House):
    key = Key()
    house.hands.lose_messages = 2
    tell(key)
    house.wait_for(key)

    assert house.noted(key) == [1]


def test_an_event_whose_worker_dies_in_the_middle_is_sent_again(house: House):
    key = Key()
    FAULTS["deadly"] = [Killed(), Killed()]
    tell(key, title="deadly")
    tell(key)
    house.wait_for(key)

    assert house.noted(key) == [1, 2]


def test_a_refusal_that_time_heals_is_waited_out_and_is_no_poison(house: House):
    """However often: six are more than the five after which a failing event is given up."""
    key = Key()
    FAULTS["early"] = [ProjectionBehind("outline", "x") for _ in range(6)]
    tell(key, title="early")
    tell(key)
    house.wait_for(key, seconds=40)

    assert house.noted(key) == [1, 2]
    assert house.letters(key) == []


def test_what_waits_for_a_later_event_does_not_keep_it_away(house: House, monkeypatch):
    monkeypatch.setattr(consume, "PARTITION_HELD_BYTES", 10_000)  # about four events
    effects, cause = [Key() for _ in range(6)], Key()
    tell(*effects, title="effect")
    eventually(lambda: {key.aggregate_id for key in effects} <= TOO_EARLY, "all effects")
    tell(cause, title="cause")
    for key in effects:
        house.wait_for(key)

    assert [house.letters(key) for key in effects] == [[]] * 6


def test_a_failure_among_refusals_does_not_make_them_count(house: House):
    key = Key()
    FAULTS["both"] = [*(ProjectionBehind("outline", "x") for _ in range(5)), ValueError("a bug")]
    tell(key, title="both")
    house.wait_for(key, seconds=40)

    assert house.letters(key) == []


@pytest.mark.parametrize("fault", [ValueError("a bug"), Killed()], ids=repr)
def test_an_event_that_fails_for_ever_is_buried_and_the_later_ones_of_its_key_behind_it(house: House, fault):
    poisoned, healthy = Key(), Key()
    FAULTS["poison"] = [fault] * 9
    tell(poisoned)
    tell(poisoned, title="poison")
    tell(poisoned)
    tell(poisoned)
    tell(healthy)
    house.wait_for(healthy)
    eventually(lambda: len(house.letters(poisoned)) == 3, "the letters", seconds=40)

    assert len(FAULTS["poison"]) == 4
    assert house.noted(poisoned) == [1]
    assert house.letters(poisoned) == [(2, "cause"), (3, "parked"), (4, "parked")]
    eventually(lambda: all_stored(house), "the offsets")


def test_a_long_line_behind_a_dead_letter_is_parked_to_the_last(house: House):
    """Longer than what the consumer holds in memory, or a stack is deep."""
    key = Key()
    bury_something(house, key)
    tell(*[key] * 350)
    eventually(lambda: len(house.letters(key)) == 351, "the last letter", seconds=60)

    assert [number for number, _ in house.letters(key)] == list(range(351))
    assert house.noted(key) == []


def test_a_key_that_was_freed_flows_again(house: House):
    key = Key()
    bury_something(house, key)
    tell(key)
    eventually(lambda: len(house.letters(key)) == 2, "the letter")
    house.database.execute("UPDATE bus.dead_letters SET status = 'replayed' WHERE key = :key", key=key.aggregate_id)
    tell(key)
    house.wait_for(key, 1)

    assert house.noted(key) == [2]


def test_messages_that_are_no_events_are_passed_over(house: House):
    key, producer = Key(), kafka.producer()
    for event_id, value in (("no-id", b"{}"), (str(new_id()), b"{no JSON"), (str(new_id()), None)):
        headers = [("ce_id", event_id), ("ce_type", "COURSE_COMPLETED")]
        producer.produce(Wire().topic, key=key.aggregate_id, value=value, headers=headers)
    assert producer.flush(10) == 0
    NO_EVENTS.append(3)
    tell(key)
    house.wait_for(key)

    eventually(lambda: all_stored(house), "the offsets")


def bury_something(house: House, key: Key) -> None:
    headers = {"ce_id": str(new_id()), "ce_type": "COURSE_COMPLETED", "ce_sequence": "0"}
    record = Record("progress", 0, 0, key.aggregate_id, headers, msgspec.Raw(b"{}"))
    assert house.dead_letters.bury("progress.take", record, "a bug")


def test_a_service_that_sleeps_stalls_nobody_else(house: House):
    key = Key()
    with house.sleepers.resting():
        for _ in range(5):
            tell(key)
        house.wait_for(key)
        assert house.done(key, "notifications.look_on") == 0
    eventually(lambda: house.done(key, "notifications.look_on") == 5, "the sleeper")

    assert house.noted(key) == [1, 2, 3, 4, 5]


def test_what_is_told_while_no_hand_works_is_taken_afterwards_once(house: House):
    """It lies in the queue: nobody sends it again, and nothing counts it as failed."""
    key = Key()
    with house.hands.resting():
        tell(key)
        eventually(lambda: queue_redis().llen("progress"), "the message")
        never(lambda: queue_redis().llen("progress") != 1, "another", seconds=1)  # longer than UNANSWERED_SECONDS
    house.wait_for(key)

    assert house.noted(key) == [1]
    failed = "SELECT count(*) FROM bus.failed_deliveries JOIN bus.outbox ON event_id = id WHERE aggregateid = :key"
    assert house.database.value(failed + " AND handler = 'progress.take'", key=key.aggregate_id) == 0


def test_what_a_bridge_had_in_hand_is_taken_by_its_successor(house: House):
    """Also when Redis has forgotten it: the offset was not stored."""
    house.close()
    key = Key()
    with pytest.MonkeyPatch.context() as patch, house.hands.resting():
        patch.setattr(consume, "DRAIN_SECONDS", 0)
        with House(house.database):
            tell(key)
            tell(key)
            eventually(lambda: queue_redis().llen("progress"), "the message", seconds=40)
        queue_redis().delete("progress")
    with House(house.database) as successor:
        successor.wait_for(key, seconds=40)
        eventually(lambda: all_stored(house), "the offsets")

    assert house.noted(key) == [1, 2]


def test_a_member_that_does_not_learn_its_place_in_time_joins_again(house: House, monkeypatch: pytest.MonkeyPatch):
    class Impatient(Consumer):
        in_vain: ClassVar[set[int]] = set()

        def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
            first = not self.in_vain
            self.in_vain.add(id(self))
            return super().committed(partitions, timeout=0 if first else timeout)

    monkeypatch.setattr(kafka, "Consumer", Impatient)
    key = Key()
    with House(house.database) as other:
        eventually(lambda: len(Impatient.in_vain) > 2, "another try", seconds=30)
        tell(key)
        house.wait_for(key)
        assert all(thread.is_alive() for thread in other.threads)
