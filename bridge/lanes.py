"""Records of one key one after another, different keys in parallel, and the offset that is safe to store."""

import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec

Partition = tuple[str, int]  # topic and number

FRESH_SECONDS = 60  # an event this young goes before older ones, which a backlog or a replay may bring by thousands
_OVERHEAD_BYTES = 2000  # of one record in memory, beside its value: headers, key, its entries in tables


@dataclass(frozen=True, eq=False)
class Record:
    """One event as it lies on a topic."""

    topic: str
    partition: int
    offset: int
    key: str
    headers: dict[str, str]
    value: msgspec.Raw  # JSON as it came

    @property
    def event_id(self) -> str:
        return self.headers["ce_id"]

    @property
    def type(self) -> str:
        return self.headers["ce_type"]

    @property
    def size(self) -> int:
        """About how many bytes of memory the record takes."""
        return _OVERHEAD_BYTES + len(memoryview(self.value))


def is_fresh(ce_time: str) -> bool:
    """Whether an event of that time was published a moment ago. False for a text that is no time."""
    try:
        return time.time() - datetime.fromisoformat(ce_time).timestamp() < FRESH_SECONDS
    except ValueError:
        return False


def attributes_of(headers: Mapping[str, str]) -> dict[str, str]:
    """What CloudEvents says of an event, without what the way to here has added."""
    return {name: value for name, value in headers.items() if name.startswith("ce_")}


class Lanes:
    """The records of a consumer's partitions that are not handled yet. Not thread-safe: the owner holds a lock.

    Only records that are not handled are kept, so one record that is stuck costs no memory for those behind it.
    """

    def __init__(self) -> None:
        self._lanes: dict[tuple[Partition, str], deque[Record]] = {}
        self._open: dict[Partition, dict[int, None]] = {}  # offsets that are not handled, ascending
        self._next: dict[Partition, int] = {}  # the offset behind the last record that was read
        self._stored: dict[Partition, int] = {}  # what ``storable`` returned last, at first where reading began
        self._held_bytes: Counter[Partition] = Counter()

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    def held_bytes(self) -> Mapping[Partition, int]:
        """Return about how much memory the records of each partition take."""
        return self._held_bytes

    def add(self, record: Record) -> bool:
        """Queue ``record`` behind earlier ones of its key; return True when it is the first and may start."""
        partition = (record.topic, record.partition)
        self._pass(partition, record.offset)
        self._open.setdefault(partition, {})[record.offset] = None
        self._held_bytes[partition] += record.size
        lane = self._lanes.setdefault((partition, record.key), deque())
        lane.append(record)
        return len(lane) == 1

    def skip(self, partition: Partition, offset: int) -> None:
        """Pass over a record that needs no handling, whatever is before it in its partition or key."""
        self._pass(partition, offset)

    def finish(self, record: Record) -> Record | None:
        """Mark ``record`` handled; return the next one of its key, which may start now."""
        partition = (record.topic, record.partition)
        lane = self._lanes.get((partition, record.key))
        if not lane or lane[0] is not record:
            return None  # its partition was assigned to another consumer
        del self._open[partition][record.offset]
        self._held_bytes[partition] -= record.size
        lane.popleft()
        if lane:
            return lane[0]
        del self._lanes[partition, record.key]
        return None

    def storable(self) -> dict[Partition, int]:
        """Return for each partition that got further the offset below which everything is handled."""
        further = {}
        for partition, read in self._next.items():
            offset = next(iter(self._open.get(partition, ())), read)
            if offset > self._stored[partition]:
                further[partition] = offset
        self._stored |= further
        return further

    def forget_waiting(self, unsent: Iterable[Record]) -> None:
        """Keep only what has been started, but for ``unsent``; the next reader of the partition handles the rest."""
        for (partition, _key), lane in self._lanes.items():
            while len(lane) > 1:
                self._held_bytes[partition] -= lane.pop().size
        for record in unsent:
            lane_name = ((record.topic, record.partition), record.key)
            if record in self._lanes.get(lane_name, ()):
                del self._lanes[lane_name]

    def drop(self, partitions: Iterable[Partition]) -> None:
        """Forget partitions that now belong to another consumer."""
        dropped = set(partitions)
        self._lanes = {lane: records for lane, records in self._lanes.items() if lane[0] not in dropped}
        for partition in dropped:
            for kept in (self._open, self._next, self._stored, self._held_bytes):
                kept.pop(partition, None)

    def _pass(self, partition: Partition, offset: int) -> None:
        self._stored.setdefault(partition, offset)
        self._next[partition] = offset + 1
