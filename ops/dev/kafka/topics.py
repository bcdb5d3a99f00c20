"""Topics, their partitions and the record batches in them."""

import asyncio
import struct
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from uuid import uuid4

from .errors import ErrorCode, KafkaError

# https://kafka.apache.org/documentation/#recordbatch: base offset, length of the rest, leader epoch, magic; after the
# checksum and the attributes: last offset delta, first and last timestamp, producer id and epoch, first sequence.
_PREFIX = struct.Struct(">qiib")
_FIELDS = struct.Struct(">iqqqhi")
_FIELDS_AT = 23
_MAGIC = 2
_REMEMBERED_BATCHES = 5  # of a producer: it has at most as many requests in flight
_MAX_MESSAGE_BYTES = 1024 * 1024 + 12  # the default of Apache Kafka


@dataclass
class _Batch:
    last_offset: int
    last_timestamp: int
    records: bytes


@dataclass
class _ProducerState:
    """The last batches of an idempotent producer: first sequence, last sequence and base offset."""

    epoch: int
    batches: deque[tuple[int, int, int]] = field(default_factory=lambda: deque(maxlen=_REMEMBERED_BATCHES))


class Partition:
    """A log of record batches. The records stay as the producer encoded them."""

    def __init__(self, max_message_bytes: int) -> None:
        self.end = 0
        self._max_message_bytes = max_message_bytes
        self._batches: list[_Batch] = []
        self._last_offsets: list[int] = []  # of the batches, for the search
        self._producers: dict[int, _ProducerState] = {}
        self.waiting: set[asyncio.Event] = set()  # set when a batch is appended, or when the topic is deleted

    def append(self, records: bytes) -> int:
        """Append one batch and return its base offset; a repeated batch of a producer is appended once.

        Raises KafkaError.
        """
        if len(records) > self._max_message_bytes:
            raise KafkaError(ErrorCode.MESSAGE_TOO_LARGE)
        if len(records) < _FIELDS_AT + _FIELDS.size or _PREFIX.unpack_from(records)[3] != _MAGIC:
            raise KafkaError(ErrorCode.CORRUPT_MESSAGE)
        length = _PREFIX.unpack_from(records)[1]
        delta, _, last_timestamp, producer_id, epoch, sequence = _FIELDS.unpack_from(records, _FIELDS_AT)
        if producer_id >= 0:
            known = self._offset_of_repetition(producer_id, epoch, sequence, sequence + delta)
            if known is not None:
                return known
        base = self.end
        batch = _PREFIX.pack(base, length, 0, _MAGIC) + records[_PREFIX.size :]  # the checksum covers what follows it
        self.end = base + delta + 1
        self._batches.append(_Batch(self.end - 1, last_timestamp, batch))
        self._last_offsets.append(self.end - 1)
        if producer_id >= 0:
            self._producers[producer_id].batches.append((sequence, sequence + delta, base))
        self.wake()
        return base

    def _offset_of_repetition(self, producer_id: int, epoch: int, first: int, last: int) -> int | None:
        """Return the base offset of a batch that was appended before; None for the next batch. Raises KafkaError."""
        state = self._producers.setdefault(producer_id, _ProducerState(epoch))
        if epoch < state.epoch:
            raise KafkaError(ErrorCode.INVALID_PRODUCER_EPOCH)
        if epoch > state.epoch:
            state = self._producers[producer_id] = _ProducerState(epoch)
        for known_first, known_last, offset in state.batches:
            if (known_first, known_last) == (first, last):
                return offset
        if state.batches and first != state.batches[-1][1] + 1:
            raise KafkaError(ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
        return None

    def read(self, offset: int, max_bytes: int, *, at_least_one: bool) -> bytes:
        """Return the batches from the one with ``offset``. Raises KafkaError if there never was such an offset."""
        if not 0 <= offset <= self.end:
            raise KafkaError(ErrorCode.OFFSET_OUT_OF_RANGE)
        found, size = list[bytes](), 0
        for index in range(bisect_left(self._last_offsets, offset), len(self._batches)):
            records = self._batches[index].records
            size += len(records)
            if size > max_bytes and not (at_least_one and not found):
                break
            found.append(records)
        return b"".join(found)

    def find(self, timestamp: int) -> tuple[int, int]:
        """Return timestamp and offset of the end (-1), of the beginning (-2), or of the first batch after a time."""
        if timestamp == -1:
            return -1, self.end
        if timestamp < 0:
            return -1, 0
        begins = 0
        for batch in self._batches:
            if batch.last_timestamp >= timestamp:
                return batch.last_timestamp, begins
            begins = batch.last_offset + 1
        return -1, -1

    def wake(self) -> None:
        for event in self.waiting:
            event.set()


class Topic:
    """A topic. One that is deleted and created again has another id."""

    def __init__(self, name: str, partitions: int, configs: Mapping[str, str]) -> None:
        self.name = name
        self.topic_id = uuid4().bytes
        self.configs = dict(configs)
        limit = int(configs.get("max.message.bytes", _MAX_MESSAGE_BYTES))
        self.partitions = [Partition(limit) for _ in range(partitions)]


class Topics:
    """All topics of the broker, by name and by id."""

    def __init__(self) -> None:
        self._by_name: dict[str, Topic] = {}
        self._by_id: dict[bytes, Topic] = {}

    def create(self, name: str, partitions: int, configs: Mapping[str, str]) -> None:
        """Create a topic. Raises KafkaError if it exists."""
        if name in self._by_name:
            raise KafkaError(ErrorCode.TOPIC_ALREADY_EXISTS)
        topic = Topic(name, max(partitions, 1), configs)
        self._by_name[name] = self._by_id[topic.topic_id] = topic

    def delete(self, name: str) -> None:
        """Delete a topic; fetches that wait for its records end. Raises KafkaError if there is none."""
        topic = self.get(name)
        del self._by_name[name], self._by_id[topic.topic_id]
        for partition in topic.partitions:
            partition.wake()

    def __iter__(self) -> Iterator[Topic]:
        return iter(self._by_name.values())

    def get(self, name: str) -> Topic:
        """Return the topic ``name``. Raises KafkaError."""
        try:
            return self._by_name[name]
        except KeyError:
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION) from None

    def get_by_id(self, topic_id: bytes) -> Topic:
        """Return the topic with this id. Raises KafkaError."""
        try:
            return self._by_id[topic_id]
        except KeyError:
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_ID) from None

    def partition(self, name: str, number: int) -> Partition:
        """Return a partition of the topic ``name``. Raises KafkaError."""
        return partition_of(self.get(name), number)


def partition_of(topic: Topic, number: int) -> Partition:
    """Return a partition of ``topic``. Raises KafkaError."""
    if not 0 <= number < len(topic.partitions):
        raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    return topic.partitions[number]
