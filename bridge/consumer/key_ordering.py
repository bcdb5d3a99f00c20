"""Key ordering: one record of a key at a time, different keys in parallel, and the offsets that are safe to store."""

from collections import Counter, deque
from collections.abc import Iterable, Mapping

from bridge.record import Partition, Record


class KeyOrderedBuffer:
    """The unhandled records of a consumer's partitions. Not thread-safe: the owner holds a lock.

    Handled records are removed at once, so one record that is stuck costs no memory for handled ones behind it.
    """

    def __init__(self) -> None:
        self._queues: dict[tuple[Partition, str], deque[Record]] = {}
        self._open: dict[Partition, dict[int, None]] = {}  # unhandled offsets, ascending
        self._next: dict[Partition, int] = {}  # the offset after the last record that was read
        self._stored: dict[Partition, int] = {}  # last result of ``committable_offsets``; initially the first offset
        self._held_bytes: Counter[Partition] = Counter()

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def __bool__(self) -> bool:
        return bool(self._queues)

    def held_bytes(self) -> Mapping[Partition, int]:
        """Return the approximate memory of the records of each partition."""
        return self._held_bytes

    def positions(self) -> dict[Partition, int]:
        """Return the offset after the last record that was read from each partition."""
        return dict(self._next)

    def event_ids(self) -> set[str]:
        """Return the ids of the unhandled events."""
        return {record.event_id for lane in self._queues.values() for record in lane}

    def add(self, record: Record) -> bool:
        """Queue ``record`` behind earlier ones of its key; return whether it is the first and may start."""
        partition = (record.topic, record.partition)
        self._advance(partition, record.offset)
        self._open.setdefault(partition, {})[record.offset] = None
        self._held_bytes[partition] += record.size
        lane = self._queues.setdefault((partition, record.key), deque())
        lane.append(record)
        return len(lane) == 1

    def skip(self, partition: Partition, offset: int) -> None:
        """Mark the record at ``offset`` as needing no handling; earlier records of its partition or key may be open."""
        self._advance(partition, offset)

    def finish(self, record: Record) -> Record | None:
        """Mark ``record`` as handled; return the next one of its key, which may start now, or None."""
        partition = (record.topic, record.partition)
        lane = self._queues.get((partition, record.key))
        if not lane or lane[0] is not record:
            return None  # its partition was revoked
        del self._open[partition][record.offset]
        self._held_bytes[partition] -= record.size
        lane.popleft()
        if lane:
            return lane[0]
        del self._queues[partition, record.key]
        return None

    def committable_offsets(self) -> dict[Partition, int]:
        """Return, for each partition with progress since the last call, the offset below which all are handled."""
        further = {}
        for partition, read in self._next.items():
            offset = next(iter(self._open.get(partition, ())), read)
            if offset > self._stored[partition]:
                further[partition] = offset
        self._stored |= further
        return further

    def discard_pending(self, unsent: Iterable[Record]) -> None:
        """Discard records that were not started, and ``unsent``; the next consumer of the partition handles them.

        Their offsets stay open, so that ``committable_offsets`` does not go beyond them.
        """
        for (partition, _key), lane in self._queues.items():
            while len(lane) > 1:
                self._held_bytes[partition] -= lane.pop().size
        for record in unsent:
            lane_name = ((record.topic, record.partition), record.key)
            if record in self._queues.get(lane_name, ()):
                del self._queues[lane_name]

    def revoke(self, partitions: Iterable[Partition]) -> None:
        """Remove partitions that were revoked."""
        dropped = set(partitions)
        self._queues = {lane: records for lane, records in self._queues.items() if lane[0] not in dropped}
        for partition in dropped:
            for kept in (self._open, self._next, self._stored, self._held_bytes):
                kept.pop(partition, None)

    def _advance(self, partition: Partition, offset: int) -> None:
        self._stored.setdefault(partition, offset)
        self._next[partition] = offset + 1
