"""One key in order, keys in parallel, and no offset before its time."""

import random

import msgspec
import pytest

from bridge.lanes import Lanes, Record

PARTITION = ("progress", 0)


def make_record(offset: int, key: str = "ann", partition: int = 0) -> Record:
    return Record("progress", partition, offset, key, {"ce_id": str(offset), "ce_type": "X"}, msgspec.Raw(b"{}"))


@pytest.fixture
def lanes() -> Lanes:
    return Lanes()


def test_the_second_of_a_key_starts_when_the_first_is_done(lanes):
    first, second = make_record(0), make_record(1)

    assert lanes.add(first)
    assert not lanes.add(second)
    assert lanes.finish(first) is second
    assert lanes.finish(second) is None


def test_another_key_starts_at_once(lanes):
    assert lanes.add(make_record(0, "ann"))
    assert lanes.add(make_record(1, "bob"))


def test_a_key_that_is_through_starts_anew(lanes):
    first = make_record(0)
    lanes.add(first)
    lanes.finish(first)

    assert lanes.add(make_record(1))


def test_an_offset_is_stored_when_everything_below_is_done(lanes):
    ann, bob, eve = make_record(5, "ann"), make_record(6, "bob"), make_record(9, "eve")  # offsets may have holes
    for record in (ann, bob, eve):
        lanes.add(record)
    lanes.finish(bob)
    lanes.finish(eve)
    assert lanes.storable() == {}
    lanes.finish(ann)

    assert lanes.storable() == {PARTITION: 10}
    assert lanes.storable() == {}


def test_partitions_are_stored_each_for_itself(lanes):
    held, done = make_record(0, "ann", partition=0), make_record(7, "ann", partition=1)
    lanes.add(held)
    lanes.add(done)
    lanes.finish(done)

    assert lanes.storable() == {("progress", 1): 8}


def test_what_belongs_to_another_consumer_is_forgotten(lanes):
    first, second, kept = make_record(0), make_record(1), make_record(0, partition=1)
    for record in (first, second, kept):
        lanes.add(record)
    lanes.drop([PARTITION])

    assert len(lanes) == 1
    assert lanes.finish(first) is None
    assert lanes.storable() == {}


def test_a_late_answer_does_not_finish_the_record_that_came_again(lanes):
    before, again = make_record(0), make_record(0)
    lanes.add(before)
    lanes.drop([PARTITION])
    lanes.add(again)
    lanes.finish(before)

    assert lanes.storable() == {}


def test_one_unhandled_record_costs_no_memory_for_those_behind_it(lanes):
    lanes.add(make_record(0, "stuck"))
    one_record_bytes = lanes.held_bytes()[PARTITION]

    for offset in range(1, 5001):
        record = make_record(offset, f"key {offset}")
        lanes.add(record)
        lanes.finish(record)

    assert lanes.storable() == {}
    assert lanes.held_bytes()[PARTITION] == one_record_bytes
    assert len(lanes._open[PARTITION]) == 1  # noqa: SLF001 its size is what is tested


def test_skipped_offsets_are_stored_when_everything_below_is_handled(lanes):
    first = make_record(3)
    lanes.add(first)
    lanes.skip(PARTITION, 4)
    assert lanes.storable() == {}

    lanes.finish(first)
    lanes.skip(PARTITION, 5)

    assert lanes.storable() == {PARTITION: 6}


def test_waiting_records_that_are_forgotten_are_not_stored(lanes):
    first, second = make_record(0), make_record(1)
    lanes.add(first)
    lanes.add(second)
    lanes.forget_waiting([])
    lanes.finish(first)

    assert lanes.storable() == {PARTITION: 1}


def test_unsent_records_that_are_forgotten_are_not_waited_for_and_not_stored(lanes):
    sent, unsent = make_record(0, "ann"), make_record(1, "bob")
    lanes.add(sent)
    lanes.add(unsent)
    lanes.forget_waiting([unsent])
    lanes.finish(sent)

    assert len(lanes) == 0
    assert lanes.finish(unsent) is None
    assert lanes.storable() == {PARTITION: 1}


@pytest.mark.parametrize("seed", range(20))
def test_in_whatever_order_handlers_answer(lanes, seed):
    chance = random.Random(seed)
    records = [make_record(offset, chance.choice("abcd")) for offset in range(60)]
    running, finished, stored, coming = [], [], 0, iter(records)
    while len(finished) < len(records):
        record = next(coming, None) if chance.random() < 0.6 else None
        if record and lanes.add(record):
            running.append(record)
        elif not record and running:
            done = running.pop(chance.randrange(len(running)))
            finished.append(done)
            if following := lanes.finish(done):
                running.append(following)
        assert len({record.key for record in running}) == len(running), "two of one key at a time"
        stored = lanes.storable().get(PARTITION, stored)
        assert {record.offset for record in finished} >= set(range(stored)), "stored before it was done"

    assert stored == len(records)
    for key in "abcd":
        offsets = [record.offset for record in finished if record.key == key]
        assert offsets == sorted(offsets)
