"""A Kafka message with the parts that decide whether its event must be handled; the rest is decoded on demand."""

import re
import time
from typing import Any, cast

import msgspec
from confluent_kafka import Message

import settings
from bridge.record import OVERHEAD_BYTES, Partition, Record, is_fresh
from core.log import get_logger

log = get_logger(__name__)

# An event may be republished for OUTBOX_RETENTION_DAYS. A record older than the rest of INBOX_RETENTION_DAYS may
# contain an event whose inbox row was pruned; handling it a second time would revert newer state (docs/decisions/0090).
MAX_AGE_SECONDS = (settings.INBOX_RETENTION_DAYS - settings.OUTBOX_RETENTION_DAYS) * 24 * 3600

_EVENT_ID = re.compile("[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Arrival:
    """A Kafka message and its event id and type.

    Most messages of a backlog are skipped by id and type, so their other headers and their value stay undecoded.
    """

    __slots__ = ("_headers", "event_id", "message", "offset", "partition", "type")

    def __init__(self, message: Message) -> None:
        headers: dict[str, Any] = dict(message.headers() or ())
        self.message = message
        self.partition = cast("Partition", (message.topic(), message.partition()))
        self.offset = cast("int", message.offset())
        self._headers = headers
        self.event_id = text(headers.get("ce_id", b""))
        self.type = text(headers.get("ce_type", b""))

    @property
    def is_event(self) -> bool:
        """Return whether the message has an event type and a valid event id."""
        return bool(self.type) and _EVENT_ID.fullmatch(self.event_id) is not None

    @property
    def is_fresh(self) -> bool:
        return is_fresh(text(self._headers.get("ce_time", b"")))

    @property
    def key(self) -> str:
        return text(self.message.key() or b"")

    @property
    def sequence(self) -> int:
        """Return the version of the aggregate; 0 if the message has no valid one."""
        sequence = text(self._headers.get("ce_sequence", b""))
        return int(sequence) if sequence.isdecimal() else 0

    @property
    def size(self) -> int:
        """Return the approximate memory of the message in bytes."""
        return OVERHEAD_BYTES + len(self.message)

    def record(self) -> Record | None:
        """Return the event; None for a message that must not be handled: not a valid event, or too old."""
        (topic, number), value = self.partition, self.message.value()
        if value is None or not self.is_event or not _is_json(value):
            log.error("message without an event", topic=topic, partition=number, offset=self.offset)
            return None
        if time.time() - self.message.timestamp()[1] / 1000 > MAX_AGE_SECONDS:
            log.error("message older than inbox retention", topic=topic, partition=number, offset=self.offset)
            return None
        headers = {name: text(value) for name, value in self._headers.items()}
        return Record(topic, number, self.offset, self.key, headers, msgspec.Raw(value))


def text(value: Any) -> str:
    """Return a header or key as text; invalid UTF-8 is replaced."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _is_json(value: Any) -> bool:
    try:
        msgspec.json.decode(value)
    except msgspec.DecodeError:
        return False
    return True
