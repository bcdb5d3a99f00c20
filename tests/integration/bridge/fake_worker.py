"""A fake worker for the tests of the dispatcher, and the records that they dispatch."""

from collections.abc import Callable
from typing import Any

import msgspec

from bridge.consumer.dispatch import Dispatcher
from bridge.record import Record
from core.db import new_id, utc_now
from core.redis import queue_redis
from tests.support.polling import eventually

SERVICE, HANDLER = "progress", "progress.recording_handler"


class Worker:
    """A fake worker that takes messages from the queue and replies as the test decides."""

    def take(self) -> dict[str, Any]:
        """Return the headers of the next message."""
        message = eventually(lambda: queue_redis().rpop(SERVICE), "a message")
        headers: dict[str, Any] = msgspec.json.decode(message)["headers"]
        return headers

    def reply(self, headers: dict[str, Any], **outcome: Any) -> None:
        self.reply_raw(headers, msgspec.json.encode({"task_id": headers["id"], **outcome}))

    def reply_raw(self, headers: dict[str, Any], reply: bytes) -> None:
        queue_redis().rpush(headers["envelope"]["reply_to"], reply)

    def waiting(self) -> int:
        return int(queue_redis().llen(SERVICE))


class Done:
    """Records the offsets of finished records."""

    def __init__(self) -> None:
        self.offsets: list[int] = []

    def __call__(self, record: Record) -> Callable[[], None]:
        return lambda: self.offsets.append(record.offset)


def make_record(offset: int = 0, *, key: str = "ann", **headers: str) -> Record:
    known = {"ce_id": str(new_id()), "ce_type": "COURSE_COMPLETED", "ce_time": utc_now().isoformat(), **headers}
    return Record("progress", 0, offset, key, known, msgspec.Raw(b"{}"))


def dispatch_all(dispatcher: Dispatcher, done: Done, *records: Record) -> None:
    for record in records:
        dispatcher.dispatch(HANDLER, record, done(record))
    dispatcher.send_ready(SERVICE)


def mark_unacked(headers: dict[str, Any]) -> None:
    """Store the message in the unacked hash, as kombu does when a worker takes it."""
    queue_redis().hset(f"unacked:{SERVICE}", "tag", msgspec.json.encode([{"headers": headers}, "", SERVICE]))
