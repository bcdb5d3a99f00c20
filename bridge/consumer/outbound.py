"""The events that the bridge holds for one service: ready to be sent, in flight, or waiting for a retry."""

import math
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from uuid import NAMESPACE_URL, uuid4, uuid5

import settings
from bridge.record import Record, is_fresh
from bridge.routes import is_urgent, waits_for_replies

_OLD_EVERY = 4  # while both kinds wait, every fourth message has old events, so that old ones make progress
MESSAGE_MAX_BYTES = 256 * 2**10  # of the events that are sent together
# Of messages with events that wait for replies only. One is executed while the next one is on its way; with more, the
# events of the same users would wait for each other's locks, and each message would carry fewer.
SHARED_MESSAGES_IN_FLIGHT = 2
# Their handlers read or change all data of a person, so other events must not wait for them in one transaction.
SENT_ALONE = {"USER_EXPORT_REQUESTED", "USER_DELETED"}


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
    message_id: str = ""  # id of the message that it was sent with
    sent_with: int = 1  # number of events in that message
    sent_at: float = 0.0  # monotonic
    sent_at_utc: float = 0.0  # seconds since 1970, as in the message
    held_since: float | None = None  # monotonic: when the message was first seen in a worker's unacked hash
    missed_checks: int = 0  # consecutive checks that found it neither in the queue nor with a worker
    task_id: str = field(init=False)
    service: str = field(init=False)

    def __post_init__(self) -> None:
        self.task_id = task_id_of(self.handler, self.record.event_id)
        self.service = self.handler.partition(".")[0]

    @property
    def is_sent_alone(self) -> bool:
        """Return whether the event gets a message of its own: it may be what made a message fail, or it is large."""
        was_tried = self.attempt > 1 or self.consecutive_refusals > 0
        return was_tried or self.record.type in SENT_ALONE or self.record.size > MESSAGE_MAX_BYTES

    @property
    def waits_for_replies(self) -> bool:
        """Return whether the event waits while SHARED_MESSAGES_IN_FLIGHT messages are not answered."""
        return waits_for_replies(self.handler) and not self.is_sent_alone

    @property
    def due_at(self) -> float:
        """Return the monotonic time at which the event must be sent, even if no other shares its message."""
        if self.is_sent_alone or is_urgent(self.handler):
            return 0.0
        # Since its arrival: an event that waited for an earlier one of its key does not wait a second time.
        return self.record.received_at + settings.EVENT_GATHER_MS / 1000

    def mark_sent(self, message_id: str, sent_with: int) -> None:
        self.state = State.IN_FLIGHT
        self.message_id, self.sent_with = message_id, sent_with
        self.sent_at, self.sent_at_utc = time.monotonic(), time.time()
        self.held_since, self.missed_checks = None, 0


def task_id_of(handler: str, event_id: str) -> str:
    """Return the task id, which is the same for each redelivery, so that every reply can be matched."""
    return str(uuid5(NAMESPACE_URL, f"{handler} {event_id}"))


@dataclass(frozen=True)
class OutboundMessage:
    """Events that are sent together."""

    id: str
    events: list[Pending]


class Outbound:
    """The events to send to the queue of one service, and those in flight. Not thread-safe: the owner holds a lock.

    At most EVENT_MESSAGES_IN_FLIGHT messages are in the queue or with a worker; the rest waits here. So commands do not
    wait behind a long queue, few messages are lost if Redis loses its data, and the events that come while the workers
    are busy are sent together. So are those that come while the first one waits until it is due. While only events that
    wait for replies are ready, SHARED_MESSAGES_IN_FLIGHT is the limit.
    """

    def __init__(self) -> None:
        self._fresh: deque[Pending] = deque()
        self._old: deque[Pending] = deque()  # always due
        self._fresh_due_at = math.inf  # monotonic
        self._take_count = 0
        self._unanswered: Counter[str] = Counter()  # number of events in flight, by message
        self._shared = set[str]()  # those of the unanswered messages whose events all wait for replies
        self._impatient_count = 0  # number of queued events that do not wait for replies
        self.in_flight: dict[str, Pending] = {}  # by task id, in the order in which they were sent
        self.paused_until = 0.0  # monotonic: the queue is full, or Redis does not answer

    def add(self, pending: Pending) -> None:
        """Queue ``pending`` to be sent."""
        pending.state = State.READY
        self._queue_of(pending).append(pending)
        self._impatient_count += not pending.waits_for_replies
        self._fresh_due_at = min(self._fresh_due_at, pending.due_at)

    def end_waiting(self) -> None:
        """Make all events due."""
        self._fresh_due_at = 0.0

    def seconds_until_due(self) -> float:
        """Return after how many seconds the next message may be sent; infinity if only a reply can bring one."""
        if not self._fresh or not self._may_send():
            return math.inf
        return max(self._fresh_due_at - time.monotonic(), 0.0)

    def take(self) -> OutboundMessage | None:
        """Return the next events to send and mark them as in flight; None if nothing may be sent now."""
        if not self._may_send():
            return None
        self._take_count += 1
        queues = (self._old, self._fresh) if self._take_count % _OLD_EVERY == 0 else (self._fresh, self._old)
        for queue in queues:
            if queue is self._fresh and not self._is_fresh_due():
                continue
            events, impatient_count = _take_together(queue)
            self._impatient_count -= impatient_count
            if events:
                return self._mark_sent(events)
        return None

    def _may_send(self) -> bool:
        if time.monotonic() < self.paused_until or len(self._unanswered) >= settings.EVENT_MESSAGES_IN_FLIGHT:
            return False
        return self._impatient_count > 0 or len(self._shared) < SHARED_MESSAGES_IN_FLIGHT

    def _is_fresh_due(self) -> bool:
        if not self._fresh:
            self._fresh_due_at = math.inf
        return len(self._fresh) >= settings.EVENTS_PER_MESSAGE or self._fresh_due_at <= time.monotonic()

    def end(self, task_id: str) -> Pending | None:
        """Return the event that was in flight as ``task_id`` and remove it; None if it was not in flight."""
        pending = self.in_flight.pop(task_id, None)
        if pending:
            self._unanswered[pending.message_id] -= 1
            if not self._unanswered[pending.message_id]:
                del self._unanswered[pending.message_id]
                self._shared.discard(pending.message_id)
        return pending

    def put_back(self, message: OutboundMessage, *, pause_seconds: float) -> None:
        """Undo ``take`` for a message that could not be sent, and send nothing for ``pause_seconds``."""
        self.paused_until = time.monotonic() + pause_seconds
        for pending in reversed(message.events):
            if self.end(pending.task_id) and pending.state is State.IN_FLIGHT:
                pending.state = State.READY
                self._queue_of(pending).appendleft(pending)
                self._impatient_count += not pending.waits_for_replies
        self.end_waiting()

    def _mark_sent(self, events: list[Pending]) -> OutboundMessage:
        # A single event is sent as the plain task of its handler, under its own id.
        message = OutboundMessage(events[0].task_id if len(events) == 1 else str(uuid4()), events)
        for pending in events:
            pending.mark_sent(message.id, len(events))
            self.in_flight[pending.task_id] = pending
        self._unanswered[message.id] = len(events)
        if all(pending.waits_for_replies for pending in events):
            self._shared.add(message.id)
        return message

    def _queue_of(self, pending: Pending) -> deque[Pending]:
        return self._fresh if is_fresh(pending.record.headers.get("ce_time", "")) else self._old


def _take_together(queue: deque[Pending]) -> tuple[list[Pending], int]:
    """Remove and return the first events of ``queue`` that may be sent in one message.

    Also returns how many of the removed events do not wait for replies; events of revoked partitions count.
    """
    taken, size, impatient_count = list[Pending](), 0, 0
    while queue and len(taken) < settings.EVENTS_PER_MESSAGE:
        pending = queue[0]
        if pending.state is State.READY:
            size += pending.record.size
            if taken and (pending.is_sent_alone or size > MESSAGE_MAX_BYTES):
                break
            taken.append(pending)
        queue.popleft()
        impatient_count += not pending.waits_for_replies
        if pending.is_sent_alone and taken:
            break
    return taken, impatient_count
