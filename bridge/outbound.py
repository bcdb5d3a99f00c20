"""The events that the bridge holds for one service: ready to be sent, sent, or waiting for their next attempt."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from uuid import NAMESPACE_URL, uuid5

import settings

from .lanes import Record, is_fresh

_OLD_EVERY = 4  # while fresh events wait too, one in so many that are sent is an old one


class State(Enum):
    """Where an event is. Each is in one place at a time."""

    READY = "ready to be sent"
    IN_FLIGHT = "sent, and not answered"
    DELAYED = "waits for its next attempt"
    DEAD = "becomes a dead letter"
    FORGOTTEN = "belongs to another bridge"


@dataclass(eq=False)
class Pending:
    """One event on its way through one handler."""

    handler: str
    record: Record
    done: list[Callable[[], None]]
    state: State = State.READY
    parked: bool = False  # behind a dead letter of its key
    attempt: int = 1  # counts towards a dead letter; transient errors do not
    refusals: int = 0  # in a row, for the delay
    waiting_since: float | None = None  # monotonic: the first transient error
    last_error: str = "no answer"
    resends: int = 0  # because the message was gone
    sent_at: float = 0.0  # monotonic
    sent_at_utc: float = 0.0  # seconds since 1970, as in the message
    taken_since: float | None = None  # monotonic: when the message was first seen among those that a worker holds
    looks_missed: int = 0  # in a row, at which the message was neither in the queue nor held by a worker
    task_id: str = field(init=False)

    def __post_init__(self) -> None:
        self.task_id = task_id_of(self.handler, self.record.event_id)

    @property
    def service(self) -> str:
        return self.handler.partition(".")[0]

    def mark_sent(self) -> None:
        self.state = State.IN_FLIGHT
        self.sent_at, self.sent_at_utc = time.monotonic(), time.time()
        self.taken_since, self.looks_missed = None, 0


def task_id_of(handler: str, event_id: str) -> str:
    """Return the same id for each repetition of an event, so that its replies find it."""
    return str(uuid5(NAMESPACE_URL, f"{handler} {event_id}"))


class Outbound:
    """What is to be sent to the queue of one service, and what was. Not thread-safe: the owner holds a lock.

    At most EVENTS_IN_FLIGHT messages are in the queue or with a worker; the rest waits here. So the queue stays short
    for commands, and what Redis may lose is little.
    """

    def __init__(self) -> None:
        self._fresh: deque[Pending] = deque()
        self._old: deque[Pending] = deque()
        self._taken = 0
        self.in_flight: dict[str, Pending] = {}  # by task id, in the order in which they were sent
        self.closed_until = 0.0  # monotonic: the queue is full, or Redis does not answer

    def add(self, pending: Pending) -> None:
        """Queue ``pending`` to be sent."""
        pending.state = State.READY
        (self._fresh if is_fresh(pending.record.headers.get("ce_time", "")) else self._old).append(pending)

    def take(self) -> Pending | None:
        """Return the next one to send, which then is in flight; None while no more may be sent."""
        if len(self.in_flight) >= settings.EVENTS_IN_FLIGHT or time.monotonic() < self.closed_until:
            return None
        while chosen := self._choose():
            pending = chosen.popleft()
            if pending.state is State.READY:
                pending.mark_sent()
                self.in_flight[pending.task_id] = pending
                return pending
        return None

    def put_back(self, pending: Pending, *, closed_seconds: float) -> None:
        """Undo ``take`` for a message that could not be sent, and send none for a while."""
        self.closed_until = time.monotonic() + closed_seconds
        if self.in_flight.pop(pending.task_id, None) and pending.state is State.IN_FLIGHT:
            pending.state = State.READY
            (self._fresh if is_fresh(pending.record.headers.get("ce_time", "")) else self._old).appendleft(pending)

    def _choose(self) -> deque[Pending] | None:
        self._taken += 1
        first, second = (self._old, self._fresh) if self._taken % _OLD_EVERY == 0 else (self._fresh, self._old)
        return first or second or None
