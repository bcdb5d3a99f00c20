"""One key in order, keys in parallel, and no offset before its time."""

import random

import msgspec
import pytest

from bridge.consumer.key_ordering import KeyOrderedBuffer, Record

PARTITION = ("progress", 0)


def make_record(offset: int, key: str = "ann", partition: int = 0) -> Record:
    return Record("progress", partition, offset, key, {"ce_id": str(offset), "ce_type": "X"}, msgspec.Raw(b"{}"))


@pytest.fixture
def lanes() -> KeyOrderedBuffer:
    return KeyOrderedBuffer()


def test_second_record_of_key_waits_for_the_first(lanes):
    first, second = make_record(0), make_record(1)

    assert lanes.add(first)
    assert not lanes.add(second)
    assert lanes.finish(first) is second
    assert lanes.finish(second) is None


def test_other_key_starts_immediately(lanes):
    assert lanes.add(make_record(0, "ann"))
    assert lanes.add(make_record(1, "bob"))


def test_finished_key_accepts_new_records(lanes):
    first = make_record(0)
    lanes.add(first)
    lanes.finish(first)

    assert lanes.add(make_record(1))


def test_offset_is_committable_when_all_earlier_are_done(lanes):
    ann, bob, eve = make_record(5, "ann"), make_record(6, "bob"), make_record(9, "eve")  # offsets may have holes
    for record in (ann, bob, eve):
        lanes.add(record)
    lanes.finish(bob)
    lanes.finish(eve)
    assert lanes.committable_offsets() == {}
    lanes.finish(ann)

    assert lanes.committable_offsets() == {PARTITION: 10}
    assert lanes.committable_offsets() == {}


def test_partitions_are_committed_independently(lanes):
    held, done = make_record(0, "ann", partition=0), make_record(7, "ann", partition=1)
    lanes.add(held)
    lanes.add(done)
    lanes.finish(done)

    assert lanes.committable_offsets() == {("progress", 1): 8}


def test_revoked_partition_is_dropped(lanes):
    first, second, kept = make_record(0), make_record(1), make_record(0, partition=1)
    for record in (first, second, kept):
        lanes.add(record)
    lanes.revoke([PARTITION])

    assert len(lanes) == 1
    assert lanes.finish(first) is None
    assert lanes.committable_offsets() == {}


def test_late_reply_does_not_finish_refetched_record(lanes):
    before, again = make_record(0), make_record(0)
    lanes.add(before)
    lanes.revoke([PARTITION])
    lanes.add(again)
    lanes.finish(before)

    assert lanes.committable_offsets() == {}


def test_stuck_record_does_not_retain_later_records(lanes):
    lanes.add(make_record(0, "stuck"))
    one_record_bytes = lanes.held_bytes()[PARTITION]

    for offset in range(1, 5001):
        record = make_record(offset, f"key {offset}")
        lanes.add(record)
        lanes.finish(record)

    assert lanes.committable_offsets() == {}
    assert lanes.held_bytes()[PARTITION] == one_record_bytes
    assert len(lanes._open[PARTITION]) == 1  # noqa: SLF001 its size is what is tested


def test_skipped_offset_is_committable_after_earlier_ones(lanes):
    first = make_record(3)
    lanes.add(first)
    lanes.skip(PARTITION, 4)
    assert lanes.committable_offsets() == {}

    lanes.finish(first)
    lanes.skip(PARTITION, 5)

    assert lanes.committable_offsets() == {PARTITION: 6}


def test_discarded_pending_records_are_not_committed(lanes):
    first, second = make_record(0), make_record(1)
    lanes.add(first)
    lanes.add(second)
    lanes.discard_pending([])
    lanes.finish(first)

    assert lanes.committable_offsets() == {PARTITION: 1}


def test_discarded_unsent_records_are_not_committed(lanes):
    sent, unsent = make_record(0, "ann"), make_record(1, "bob")
    lanes.add(sent)
    lanes.add(unsent)
    lanes.discard_pending([unsent])
    lanes.finish(sent)

    assert len(lanes) == 0
    assert lanes.finish(unsent) is None
    assert lanes.committable_offsets() == {PARTITION: 1}


@pytest.mark.parametrize("seed", range(20))
def test_offsets_advance_for_any_completion_order(lanes, seed):
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
        stored = lanes.committable_offsets().get(PARTITION, stored)
        assert {record.offset for record in finished} >= set(range(stored)), "stored before it was done"

    assert stored == len(records)
    for key in "abcd":
        offsets = [record.offset for record in finished if record.key == key]
        assert offsets == sorted(offsets)
