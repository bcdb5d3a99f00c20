"""From an event to its handlers and back: sent until the worker says "committed", or until it is poison.

A handler is asked again when it failed, and when nothing came back although its queue is empty (the worker that took
the message has died, or Redis has forgotten it). The inbox makes every repetition harmless.
"""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

import msgspec
from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError

import celery_app
from models.errors import DomainError
from models.faults import reach
from models.log import get_logger
from models.redis import queue_redis

from .deadletters import DeadLetters
from .lanes import Record, attributes_of
from .metrics import count_handled

log = get_logger(__name__)

UNANSWERED_SECONDS = 3.0  # then the queue is looked at, and an empty one means that the message is gone
LONGEST_WAIT_SECONDS = 30.0
_TICK_SECONDS = 0.2


@dataclass
class _Pending:
    """One event on its way through one handler."""

    handler: str
    record: Record
    done: Callable[[], None]
    due_at: float = 0.0  # monotonic: when to look after it
    sent: bool = False
    attempt: int = 1  # that counts: a refusal which only time heals does not
    waits: int = 0  # refusals in a row
    last_error: str = "no answer"

    @property
    def task_id(self) -> str:
        return str(uuid5(NAMESPACE_URL, f"{self.handler} {self.record.event_id}"))


class Dispatcher(threading.Thread):
    """Sends events to handlers and hears their replies, on one reply list for the whole process."""

    def __init__(self, stop: threading.Event, dead_letters: DeadLetters) -> None:
        super().__init__(name="dispatch", daemon=True)
        self._stop_asked = stop
        self._dead_letters = dead_letters
        self._reply_to = f"reply:bridge:{uuid4()}"
        self._lock = threading.Lock()
        self._pending: dict[str, _Pending] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def learn_blocked_keys(self) -> None:
        """Ask the databases which keys are blocked. Raises DBAPIError."""
        self._dead_letters.reload()

    def dispatch(self, handler: str, record: Record, done: Callable[[], None]) -> None:
        """Have ``handler`` take ``record``; ``done`` is called from another thread when it has, or never will."""
        pending = _Pending(handler, record, done)
        with self._lock:
            self._pending[pending.task_id] = pending
        if self._dead_letters.blocks(handler, record.key):
            # Left to our own thread: buried here, a long line of its key would be buried by ever deeper calls.
            pending.last_error = "parked"
        else:
            self._send(pending)

    def run(self) -> None:
        while not self._stop_asked.is_set():
            try:
                for reply in self._replies():
                    self._hear(reply)
            except RedisError:
                time.sleep(_TICK_SECONDS)
            self._look_after_the_due()

    def _replies(self) -> list[dict[str, Any]]:
        popped: Any = queue_redis().blmpop(_TICK_SECONDS, 1, self._reply_to, direction="LEFT", count=100)
        return [msgspec.json.decode(reply) for reply in popped[1]] if popped else []

    def _hear(self, reply: dict[str, Any]) -> None:
        with self._lock:
            pending = self._pending.get(reply["task_id"])
        if pending is None:
            return  # a repetition's reply
        if "result" in reply:
            self._finish(pending)
        elif "poison" in reply:
            self._bury(pending)
        else:
            self._put_off(pending, reply)

    def _put_off(self, pending: _Pending, reply: dict[str, Any]) -> None:
        """After a failure: again, later and later. Only what may not heal by itself counts towards poison."""
        error = reply.get("error")
        heals = isinstance(error, dict) and DomainError.from_wire(error).transient
        pending.last_error = reply.get("crash") or f"{error}"
        pending.attempt = 1 if heals else pending.attempt + 1
        pending.waits += 1
        wait_seconds = min(0.1 * 2**pending.waits, LONGEST_WAIT_SECONDS) * random.uniform(0.75, 1.25)
        pending.sent, pending.due_at = False, time.monotonic() + wait_seconds
        event_id, reason = pending.record.event_id, pending.last_error
        log.info("handler put off", handler=pending.handler, event_id=event_id, reason=reason)

    def _look_after_the_due(self) -> None:
        # Until none is due: behind one that was buried may stand the next.
        while due := self._due():
            for pending in due:
                self._look_after(pending)

    def _due(self) -> list[_Pending]:
        now = time.monotonic()
        with self._lock:
            return [pending for pending in self._pending.values() if pending.due_at <= now]

    def _look_after(self, pending: _Pending) -> None:
        if pending.last_error == "parked":
            self._bury(pending)
        elif not pending.sent:
            self._send(pending)
        elif self._queue_is_empty(pending):
            pending.attempt += 1
            self._send(pending)
        else:
            pending.due_at = time.monotonic() + 1  # its turn has not come: nobody is at work, or others are before it

    def _queue_is_empty(self, pending: _Pending) -> bool:
        try:
            return queue_redis().llen(pending.handler.partition(".")[0]) == 0
        except RedisError:
            return False

    def _send(self, pending: _Pending) -> None:
        record = pending.record
        envelope = celery_app.Envelope(
            reply_to=self._reply_to,
            request_id=record.headers.get("ce_correlationid"),
            traceparent=record.headers.get("traceparent"),
            event_id=record.event_id,
            event_headers=attributes_of(record.headers),
            attempt=pending.attempt,
        )
        # Before the push, so that a reply which is faster than we are finds it so.
        pending.sent, pending.due_at = True, time.monotonic() + UNANSWERED_SECONDS
        try:
            celery_app.send(pending.handler, {"event": record.value}, envelope, task_id=pending.task_id)
            reach("sent", pending.handler)
        except DomainError:  # the queue is full, or Redis is away
            pending.sent, pending.due_at = False, time.monotonic() + 0.5

    def _bury(self, pending: _Pending) -> None:
        try:
            parked = self._dead_letters.bury(pending.handler, pending.record, pending.last_error)
        except DBAPIError as error:
            log.warning("dead letter not written", handler=pending.handler, reason=str(error))
            pending.last_error, pending.due_at = pending.last_error, time.monotonic() + 1
            return
        if parked:
            self._finish(pending)
        else:
            pending.last_error = "no answer"
            self._send(pending)  # its key is free again

    def _finish(self, pending: _Pending) -> None:
        with self._lock:
            gone = self._pending.pop(pending.task_id, None)
        if gone:
            count_handled(gone.handler, gone.record)
            gone.done()
