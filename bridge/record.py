"""One event as it is stored on a Kafka topic."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

Partition = tuple[str, int]  # topic and number

FRESH_SECONDS = 60  # fresher events are sent before older ones, of which a backlog or a replay may bring thousands
OVERHEAD_BYTES = 2000  # memory of one record without its value: headers, key, entries in dictionaries


@dataclass(frozen=True, eq=False)
class Record:
    """One event as it is stored on a topic."""

    topic: str
    partition: int
    offset: int
    key: str
    headers: dict[str, str]
    value: msgspec.Raw  # unparsed JSON
    received_at: float = field(default_factory=time.monotonic)

    @property
    def event_id(self) -> str:
        return self.headers["ce_id"]

    @property
    def type(self) -> str:
        return self.headers["ce_type"]

    @property
    def size(self) -> int:
        """Return the approximate memory of the record in bytes."""
        return OVERHEAD_BYTES + len(memoryview(self.value))


def is_fresh(ce_time: str) -> bool:
    """Return whether ``ce_time`` is less than FRESH_SECONDS ago. False for a text that is no timestamp."""
    try:
        return time.time() - datetime.fromisoformat(ce_time).timestamp() < FRESH_SECONDS
    except ValueError:
        return False


def cloudevent_attributes(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the CloudEvents attributes (``ce_…``) of ``headers``."""
    return {name: value for name, value in headers.items() if name.startswith("ce_")}
