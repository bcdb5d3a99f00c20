"""Records of one key one after another, different keys in parallel, and the offset that is safe to store."""

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import takewhile

import msgspec

Partition = tuple[str, int]  # topic and number


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


def attributes_of(headers: Mapping[str, str]) -> dict[str, str]:
    """What CloudEvents says of an event, without what the way to here has added."""
    return {name: value for name, value in headers.items() if name.startswith("ce_")}


class Lanes:
    """What of a consumer's partitions is under way. Not thread-safe: its owner holds a lock."""

    def __init__(self) -> None:
        self._lanes: dict[tuple[Partition, str], deque[Record]] = {}
        self._open: dict[Partition, dict[int, bool]] = {}  # offset, in order: whether it is done

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    def waiting(self) -> Counter[Partition]:
        """How many records of each partition are not done."""
        counted: Counter[Partition] = Counter()
        for (partition, _key), lane in self._lanes.items():
            counted[partition] += len(lane)
        return counted

    def add(self, record: Record) -> bool:
        """Queue ``record`` behind earlier ones of its key; True when it is the first and may start."""
        partition = (record.topic, record.partition)
        self._open.setdefault(partition, {})[record.offset] = False
        lane = self._lanes.setdefault((partition, record.key), deque())
        lane.append(record)
        return len(lane) == 1

    def finish(self, record: Record) -> Record | None:
        """Mark ``record`` done; returns the next one of its key, which may start now."""
        partition = (record.topic, record.partition)
        lane = self._lanes.get((partition, record.key))
        if not lane or lane[0] is not record:
            return None  # its partition was taken from us meanwhile
        self._open[partition][record.offset] = True
        lane.popleft()
        if lane:
            return lane[0]
        del self._lanes[partition, record.key]
        return None

    def storable(self) -> dict[Partition, int]:
        """For each partition that got further: the offset below which everything is done. Told once."""
        further = {}
        for partition, offsets in self._open.items():
            for offset in _done_from_the_start(offsets):
                del offsets[offset]
                further[partition] = offset + 1
        return further

    def forget_waiting(self) -> None:
        """Keep only what has been started; the rest is for whoever reads its partition next."""
        for lane in self._lanes.values():
            while len(lane) > 1:
                lane.pop()

    def drop(self, partitions: Iterable[Partition]) -> None:
        """Forget partitions that now belong to another consumer."""
        gone = set(partitions)
        self._open = {partition: offsets for partition, offsets in self._open.items() if partition not in gone}
        self._lanes = {lane: records for lane, records in self._lanes.items() if lane[0] not in gone}


def _done_from_the_start(offsets: dict[int, bool]) -> list[int]:
    return [offset for offset, _ in takewhile(lambda entry: entry[1], offsets.items())]
