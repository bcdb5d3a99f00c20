"""Events of one key are ordered, keys run in parallel, and an offset is committed only after all earlier events."""

import random

import msgspec
import pytest

from bridge.consumer.key_ordering import KeyOrderedBuffer
from bridge.record import Record

PARTITION = ("progress", 0)


def make_record(offset: int, key: str = "ann", partition: int = 0) -> Record:
    return Record("progress", partition, offset, key, {"ce_id": str(offset), "ce_type": "X"}, msgspec.Raw(b"{}"))


@pytest.fixture
def buffer() -> KeyOrderedBuffer:
    return KeyOrderedBuffer()


def test_second_record_of_key_waits_for_the_first(buffer):
    first, second = make_record(0), make_record(1)

    assert buffer.add(first)
    assert not buffer.add(second)
    assert buffer.finish(first) is second
    assert buffer.finish(second) is None


def test_other_key_starts_immediately(buffer):
    assert buffer.add(make_record(0, "ann"))
    assert buffer.add(make_record(1, "bob"))


def test_finished_key_accepts_new_records(buffer):
    first = make_record(0)
    buffer.add(first)
    buffer.finish(first)

    assert buffer.add(make_record(1))


def test_offset_is_committable_when_all_earlier_are_done(buffer):
    ann, bob, eve = make_record(5, "ann"), make_record(6, "bob"), make_record(9, "eve")  # offsets may have gaps
    for record in (ann, bob, eve):
        buffer.add(record)
    buffer.finish(bob)
    buffer.finish(eve)
    assert buffer.committable_offsets() == {}
    buffer.finish(ann)

    assert buffer.committable_offsets() == {PARTITION: 10}
    assert buffer.committable_offsets() == {}


def test_partitions_are_committed_independently(buffer):
    running, done = make_record(0, "ann", partition=0), make_record(7, "ann", partition=1)
    buffer.add(running)
    buffer.add(done)
    buffer.finish(done)

    assert buffer.committable_offsets() == {("progress", 1): 8}


def test_revoked_partition_is_dropped(buffer):
    first, second, kept = make_record(0), make_record(1), make_record(0, partition=1)
    for record in (first, second, kept):
        buffer.add(record)
    buffer.revoke([PARTITION])

    assert len(buffer) == 1
    assert buffer.finish(first) is None
    assert buffer.committable_offsets() == {}


def test_late_reply_does_not_finish_refetched_record(buffer):
    before, again = make_record(0), make_record(0)
    buffer.add(before)
    buffer.revoke([PARTITION])
    buffer.add(again)
    buffer.finish(before)

    assert buffer.committable_offsets() == {}


def test_stuck_record_does_not_retain_later_records(buffer):
    buffer.add(make_record(0, "stuck"))
    one_record_bytes = buffer.held_bytes()[PARTITION]

    for offset in range(1, 5001):
        record = make_record(offset, f"key {offset}")
        buffer.add(record)
        buffer.finish(record)

    assert buffer.committable_offsets() == {}
    assert buffer.held_bytes()[PARTITION] == one_record_bytes
    assert len(buffer._open[PARTITION]) == 1  # noqa: SLF001 its size is under test


def test_skipped_offset_is_committable_after_earlier_ones(buffer):
    first = make_record(3)
    buffer.add(first)
    buffer.skip(PARTITION, 4)
    assert buffer.committable_offsets() == {}

    buffer.finish(first)
    buffer.skip(PARTITION, 5)

    assert buffer.committable_offsets() == {PARTITION: 6}


def test_discarded_pending_records_are_not_committed(buffer):
    first, second = make_record(0), make_record(1)
    buffer.add(first)
    buffer.add(second)
    buffer.discard_pending([])
    buffer.finish(first)

    assert buffer.committable_offsets() == {PARTITION: 1}


def test_discarded_unsent_records_are_not_committed(buffer):
    sent, unsent = make_record(0, "ann"), make_record(1, "bob")
    buffer.add(sent)
    buffer.add(unsent)
    buffer.discard_pending([unsent])
    buffer.finish(sent)

    assert len(buffer) == 0
    assert buffer.finish(unsent) is None
    assert buffer.committable_offsets() == {PARTITION: 1}


@pytest.mark.parametrize("seed", range(20))
def test_offsets_advance_for_any_completion_order(buffer, seed):
    generator = random.Random(seed)
    records = [make_record(offset, generator.choice("abcd")) for offset in range(60)]
    running, finished, stored, remaining = [], [], 0, iter(records)
    while len(finished) < len(records):
        record = next(remaining, None) if generator.random() < 0.6 else None
        if record and buffer.add(record):
            running.append(record)
        elif not record and running:
            done = running.pop(generator.randrange(len(running)))
            finished.append(done)
            if following := buffer.finish(done):
                running.append(following)
        assert len({record.key for record in running}) == len(running), "two records of one key are running"
        stored = buffer.committable_offsets().get(PARTITION, stored)
        assert {record.offset for record in finished} >= set(range(stored)), (
            "an offset is committable before its record is done"
        )

    assert stored == len(records)
    for key in "abcd":
        offsets = [record.offset for record in finished if record.key == key]
        assert offsets == sorted(offsets)
