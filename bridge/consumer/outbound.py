"""The events that the bridge holds for one service: ready to be sent, in flight, or waiting for a retry."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from uuid import NAMESPACE_URL, uuid5

import settings
from bridge.record import Record, is_fresh

_OLD_EVERY = 4  # while both kinds wait, every fourth event sent is an old one, so that old ones make progress


class State(Enum):
    """The state of a pending event."""

    READY = "ready to be sent"
    IN_FLIGHT = "sent, and not answered"
    DELAYED = "waits for its next attempt"
    DEAD = "becomes a dead letter"
    REMOVED = "belongs to another bridge"


@dataclass(eq=False)
class Pending:
    """One event that is pending for one handler."""

    handler: str
    record: Record
    on_done: list[Callable[[], None]]
    state: State = State.READY
    parked: bool = False  # behind a dead letter of its key
    attempt: int = 1  # counts towards dead-lettering; transient errors do not count
    consecutive_refusals: int = 0  # consecutive, for the backoff
    waiting_since: float | None = None  # monotonic: time of the first transient error
    last_error: str = "no reply"
    resends: int = 0  # because the message was lost
    sent_at: float = 0.0  # monotonic
    sent_at_utc: float = 0.0  # seconds since 1970, as in the message
    held_since: float | None = None  # monotonic: when the message was first seen in a worker's unacked hash
    missed_checks: int = 0  # consecutive checks that found it neither in the queue nor with a worker
    task_id: str = field(init=False)

    def __post_init__(self) -> None:
        self.task_id = task_id_of(self.handler, self.record.event_id)

    @property
    def service(self) -> str:
        return self.handler.partition(".")[0]

    def mark_sent(self) -> None:
        self.state = State.IN_FLIGHT
        self.sent_at, self.sent_at_utc = time.monotonic(), time.time()
        self.held_since, self.missed_checks = None, 0


def task_id_of(handler: str, event_id: str) -> str:
    """Return the task id, which is the same for each redelivery, so that every reply can be matched."""
    return str(uuid5(NAMESPACE_URL, f"{handler} {event_id}"))


class Outbound:
    """The events to send to the queue of one service, and those in flight. Not thread-safe: the owner holds a lock.

    At most EVENTS_IN_FLIGHT messages are in the queue or with a worker; the rest waits here. So commands do not wait
    behind a long queue, and few messages are lost if Redis loses its data.
    """

    def __init__(self) -> None:
        self._fresh: deque[Pending] = deque()
        self._old: deque[Pending] = deque()
        self._take_count = 0
        self.in_flight: dict[str, Pending] = {}  # by task id, in the order in which they were sent
        self.paused_until = 0.0  # monotonic: the queue is full, or Redis does not answer

    def add(self, pending: Pending) -> None:
        """Queue ``pending`` to be sent."""
        pending.state = State.READY
        (self._fresh if is_fresh(pending.record.headers.get("ce_time", "")) else self._old).append(pending)

    def take(self) -> Pending | None:
        """Return the next event to send and mark it as in flight; None if nothing may be sent now."""
        if len(self.in_flight) >= settings.EVENTS_IN_FLIGHT or time.monotonic() < self.paused_until:
            return None
        while chosen := self._choose():
            pending = chosen.popleft()
            if pending.state is State.READY:
                pending.mark_sent()
                self.in_flight[pending.task_id] = pending
                return pending
        return None

    def put_back(self, pending: Pending, *, pause_seconds: float) -> None:
        """Undo ``take`` for a message that could not be sent, and send nothing for ``pause_seconds``."""
        self.paused_until = time.monotonic() + pause_seconds
        if self.in_flight.pop(pending.task_id, None) and pending.state is State.IN_FLIGHT:
            pending.state = State.READY
            (self._fresh if is_fresh(pending.record.headers.get("ce_time", "")) else self._old).appendleft(pending)

    def _choose(self) -> deque[Pending] | None:
        self._take_count += 1
        first, second = (self._old, self._fresh) if self._take_count % _OLD_EVERY == 0 else (self._fresh, self._old)
        return first or second or None
