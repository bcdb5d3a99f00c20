"""Send events to handlers and collect their replies, until each is handled or is a dead letter.

One thread reads the replies. The rest of its work between two reads is bounded, so a backlog cannot delay the replies.
An event is sent again after a failure, and when its message is provably lost: the worker that took it died, or Redis
lost it. The inbox makes each redelivery harmless.
"""

import heapq
import itertools
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from typing import Any
from uuid import uuid4

import msgspec
from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError

import settings
from bridge.metrics import EVENTS_IN_FLIGHT, EVENTS_RESENT, EVENTS_WAITING, observe_handled
from bridge.record import Partition, Record, cloudevent_attributes
from core.fault_injection import crash_point
from core.log import get_logger
from core.messaging import task_queue
from core.messaging.event_messages import HANDLE_EVENTS, Delivery
from core.redis import queue_redis
from models.errors import DomainError

from .dead_letter_store import DeadLetters
from .outbound import Outbound, OutboundMessage, Pending, State
from .queue_inspection import QueueSnapshot, inspect_queues

log = get_logger(__name__)

REPLY_TIMEOUT_SECONDS = 1.0  # without a reply for this long, check whether the message still exists
LOST_CHECK_SECONDS = 0.25  # interval of that check
UNACKED_TIMEOUT_SECONDS = 3.0  # a worker that holds a message for longer may be dead …
UNACKED_TIMEOUT_PER_EVENT_SECONDS = 0.1  # … or for this much longer for each further event in the message
MISSED_CHECKS_UNTIL_LOST = (
    2  # while a worker takes a message, it is briefly neither in the queue nor in the worker's unacked hash
)
MAX_BACKOFF_SECONDS = 30.0
QUEUE_PAUSE_SECONDS = 0.5  # pause for a queue after it was full or Redis did not answer
MAX_CONSECUTIVE_FAILURES = 50  # consecutive failures after which the process ends; its supervisor restarts it
_TICK_SECONDS = 0.2
_REPLY_BATCH = 100
_DELAYED_BATCH = 200
PARKED = "parked"


class Dispatcher(threading.Thread):
    """Sends events to handlers and reads their replies from one list for the whole process.

    An unexpected error in a reply or in an iteration of the loop is logged and the loop continues; the affected event
    is sent again. An error in a consumer's callback ends the thread, and with it the process: the consumer's state may
    be inconsistent, and only a restart rebuilds it from Kafka.
    """

    def __init__(self, stop: threading.Event, dead_letters: DeadLetters) -> None:
        super().__init__(name="dispatch", daemon=True)
        self._stop_requested = stop
        self._dead_letters = dead_letters
        self._reply_to = f"reply:bridge:{uuid4()}"
        self._lock = threading.Lock()
        self._pending: dict[str, Pending] = {}  # by task id
        self._held: Counter[str] = Counter()  # number of pending events, by service
        self._outbound: dict[str, Outbound] = defaultdict(Outbound)  # by service
        self._delayed: list[tuple[float, int, Pending]] = []  # a heap, by the time of the next attempt
        self._numbers = itertools.count()
        self._dead_letter_queue: SimpleQueue[tuple[Pending, str]] = SimpleQueue()
        self._callback_failed = threading.Event()
        self._next_check_at = 0.0

    def __len__(self) -> int:
        return len(self._pending)

    def reload_blocked_keys(self) -> None:
        """Read the blocked keys from the databases. Raises DBAPIError."""
        self._dead_letters.reload_blocked_keys()

    def dispatch(self, handler: str, record: Record, done: Callable[[], None]) -> None:
        """Send ``record`` to ``handler``; call ``done`` when it is handled or dead-lettered.

        ``send_ready`` sends what was dispatched. ``done`` is called from another thread. If another caller dispatched
        the same event to the handler and it is still pending, it is not sent twice; both callbacks are called.
        """
        new = Pending(handler, record, [done])
        with self._lock:
            if (pending := self._pending.setdefault(new.task_id, new)) is not new:
                pending.on_done.append(done)
                return
            self._held[pending.service] += 1
        pending.parked = self._dead_letters.is_blocked(handler, record.key)
        self._park_or_queue(pending)

    def send_ready(self, service: str, *, all_are_due: bool = False) -> None:
        """Send the events of ``service`` that are due, up to EVENT_MESSAGES_IN_FLIGHT messages.

        With ``all_are_due``, no event waits for others to share its message. Bounded, because the caller may be a
        consumer's thread, which must not send for all others without end.
        """
        for _ in range(settings.EVENT_MESSAGES_IN_FLIGHT):
            with self._lock:
                if all_are_due:
                    self._outbound[service].end_waiting()
                message = self._outbound[service].take()
            if message is None:
                return
            try:
                self._send(service, message)
            except DomainError:  # the queue is full, or Redis does not answer
                with self._lock:
                    self._outbound[service].put_back(message, pause_seconds=QUEUE_PAUSE_SECONDS)
                return

    def seconds_until_due(self, service: str) -> float:
        """Return after how many seconds ``send_ready`` has something to send; infinity if a reply must come first."""
        with self._lock:
            return self._outbound[service].seconds_until_due()

    def discard_unsent(self, service: str, partitions: Iterable[Partition]) -> list[Record]:
        """Discard unsent events of revoked partitions and return them. Events in flight stay until their reply."""
        revoked, discarded = set(partitions), list[Record]()
        with self._lock:
            for pending in list(self._pending.values()):
                place = (pending.record.topic, pending.record.partition)
                is_unsent = pending.state in {State.READY, State.DELAYED} and len(pending.on_done) == 1
                if is_unsent and pending.service == service and place in revoked:
                    self._remove(pending)
                    discarded.append(pending.record)
        return discarded

    def run(self) -> None:
        writer = threading.Thread(target=self._write_dead_letters, name="dead-letters", daemon=True)
        writer.start()
        failed = 0
        while (
            not self._stop_requested.is_set()
            and not self._callback_failed.is_set()
            and failed < MAX_CONSECUTIVE_FAILURES
        ):
            try:
                self._run_once()
                failed = 0
            except RedisError:
                self._stop_requested.wait(_TICK_SECONDS)
            except Exception:  # the events of all services depend on this thread
                failed += 1
                log.exception("dispatcher iteration failed")
                self._stop_requested.wait(_TICK_SECONDS)
        if self._stop_requested.is_set():
            writer.join(1)

    def _run_once(self) -> None:
        self._read_replies(_TICK_SECONDS)
        self._release_delayed()
        for service in list(self._outbound):
            self.send_ready(service)
        if time.monotonic() >= self._next_check_at:
            self._next_check_at = time.monotonic() + LOST_CHECK_SECONDS
            self._measure()
            self._resend_lost()

    # Replies.

    def _read_replies(self, seconds: float) -> int:
        """Wait for replies and process them; return their number. Raises RedisError."""
        popped: Any = queue_redis().blmpop(seconds, 1, self._reply_to, direction="LEFT", count=_REPLY_BATCH)
        replies: list[bytes] = popped[1] if popped else []
        for raw in replies:
            try:
                self._on_reply(msgspec.json.decode(raw))
            except Exception:  # continue with the other replies; this event is sent again
                log.exception("reply not processed")
        return len(replies)

    def _on_reply(self, reply: dict[str, Any]) -> None:
        with self._lock:
            answered = self._answered_by(reply["task_id"])
            ended = [(pending, bool(self._outbound[pending.service].end(pending.task_id))) for pending in answered]
        for pending, was_in_flight in ended:
            if "result" in reply:
                self._finish(pending, handled=True)
            elif "poison" in reply:
                self._enqueue_dead_letter(pending, pending.last_error)
            elif was_in_flight:
                self._schedule_retry(pending, reply)

    def _answered_by(self, task_id: str) -> list[Pending]:
        """Return the event with ``task_id``, or those of a message that the worker could not read.

        An unknown id is that of a duplicate reply: the event was sent twice.
        """
        if pending := self._pending.get(task_id):
            return [pending]
        in_flight = (each for outbound in self._outbound.values() for each in outbound.in_flight.values())
        return [pending for pending in in_flight if pending.message_id == task_id]

    def _schedule_retry(self, pending: Pending, reply: dict[str, Any]) -> None:
        """Schedule a retry with exponential backoff.

        Transient errors are retried for EVENT_WAIT_SECONDS. Other errors count as attempts; the worker answers "poison"
        after the last one.
        """
        now, error = time.monotonic(), reply.get("error")
        transient = isinstance(error, dict) and DomainError.from_wire(error).transient
        pending.last_error = str(reply.get("crash") or error or "a reply without an outcome")
        pending.attempt = 1 if transient else pending.attempt + 1
        if transient:
            pending.waiting_since = pending.waiting_since or now
            if now - pending.waiting_since >= settings.EVENT_WAIT_SECONDS:
                self._enqueue_dead_letter(pending, f"waited too long: {pending.last_error}")
                return
        pending.consecutive_refusals += 1
        wait_seconds = min(0.1 * 2 ** min(pending.consecutive_refusals, 20), MAX_BACKOFF_SECONDS)
        self._delay(pending, wait_seconds * random.uniform(0.75, 1.25))
        event_id, reason = pending.record.event_id, pending.last_error
        log.info("event retry scheduled", handler=pending.handler, event_id=event_id, reason=reason)

    def _finish(self, pending: Pending, *, handled: bool) -> None:
        with self._lock:
            if self._pending.get(pending.task_id) is not pending:
                return
            self._remove(pending)
        if handled:
            observe_handled(pending.handler, pending.record)
        try:
            for done in pending.on_done:
                done()
        except Exception:  # the consumer's state may be inconsistent: see the class docstring
            log.exception("callback failed", handler=pending.handler, event_id=pending.record.event_id)
            self._callback_failed.set()

    # Sending.

    def _park_or_queue(self, pending: Pending) -> None:
        if pending.parked:
            self._enqueue_dead_letter(pending, PARKED)
        else:
            self._queue(pending)

    def _queue(self, pending: Pending) -> None:
        with self._lock:
            self._outbound[pending.service].add(pending)

    def _delay(self, pending: Pending, seconds: float) -> None:
        with self._lock:
            pending.state = State.DELAYED
            heapq.heappush(self._delayed, (time.monotonic() + seconds, next(self._numbers), pending))

    def _release_delayed(self) -> None:
        now, due = time.monotonic(), list[Pending]()
        with self._lock:
            while self._delayed and self._delayed[0][0] <= now and len(due) < _DELAYED_BATCH:
                due.append(heapq.heappop(self._delayed)[2])
        for pending in due:
            if pending.state is State.DELAYED:
                self._park_or_queue(pending)

    def _send(self, service: str, message: OutboundMessage) -> None:
        if len(message.events) == 1:
            [pending] = message.events
            event = {"event": pending.record.value}
            task_queue.enqueue(pending.handler, event, self._envelope(pending), task_id=message.id)
        else:
            # Two messages with events of the same keys lock rows in the same order. The worker sorts by user; events of
            # one user, and those of no user, stay in this order.
            events = sorted(message.events, key=lambda pending: pending.record.key)
            deliveries = [
                Delivery(
                    handler=pending.handler,
                    task_id=pending.task_id,
                    event=pending.record.value,
                    envelope=self._envelope(pending),
                )
                for pending in events
            ]
            envelope = task_queue.Envelope(reply_to=self._reply_to)
            task_queue.enqueue(f"{service}.{HANDLE_EVENTS}", {"deliveries": deliveries}, envelope, task_id=message.id)
        for pending in message.events:
            crash_point("sent", pending.handler)

    def _envelope(self, pending: Pending) -> task_queue.Envelope:
        headers = pending.record.headers
        return task_queue.Envelope(
            reply_to=self._reply_to,
            request_id=headers.get("ce_correlationid"),
            traceparent=headers.get("traceparent"),
            event_id=pending.record.event_id,
            event_headers=cloudevent_attributes(headers),
            attempt=pending.attempt,
        )

    # Lost messages.

    def _resend_lost(self) -> None:
        """Send events again whose message was lost; checks all of them by one round trip. Raises RedisError."""
        now = time.monotonic()
        with self._lock:
            overdue = [
                pending
                for outbound in self._outbound.values()
                for pending in outbound.in_flight.values()
                if now - pending.sent_at > REPLY_TIMEOUT_SECONDS
            ]
        if not overdue:
            return
        queues = inspect_queues({pending.service for pending in overdue})
        self._drain_replies()  # a worker replies before it acknowledges: the reply may already be there
        for pending in overdue:
            with self._lock:
                outbound = self._outbound[pending.service]
                is_in_flight = outbound.in_flight.get(pending.task_id) is pending
                is_lost = is_in_flight and _is_lost(pending, queues[pending.service], now)
                if is_lost:
                    outbound.end(pending.task_id)
                    pending.attempt += 1  # the message may have crashed the worker
                    pending.resends += 1
                    outbound.add(pending)
            if is_lost:
                EVENTS_RESENT.labels(pending.service).inc()
                log.info("message lost, event resent", handler=pending.handler, event_id=pending.record.event_id)
                self.send_ready(pending.service)

    def _drain_replies(self) -> None:
        for _ in range(10):
            if self._read_replies(0.01) < _REPLY_BATCH:
                return

    # Dead letters: written by a separate thread, because a database that does not answer must not delay replies.

    def _enqueue_dead_letter(self, pending: Pending, reason: str) -> None:
        pending.state = State.DEAD
        self._dead_letter_queue.put((pending, reason))

    def _write_dead_letters(self) -> None:
        while not self._stop_requested.is_set():
            try:
                pending, reason = self._dead_letter_queue.get(timeout=_TICK_SECONDS)
            except Empty:
                continue
            if pending.state is not State.DEAD:
                continue  # a late reply has reported that it is handled
            try:
                self._write_dead_letter(pending, reason)
            except Exception as error:  # noqa: BLE001 write the other dead letters; this one is retried
                level = log.warning if isinstance(error, DBAPIError) else log.error
                level("dead letter not written", handler=pending.handler, exc_info=error)
                self._delay(pending, 1)

    def _write_dead_letter(self, pending: Pending, reason: str) -> None:
        if self._dead_letters.store(pending.handler, pending.record, reason):
            self._finish(pending, handled=False)
        else:
            pending.parked = False  # its key is free again
            self._queue(pending)
        self.send_ready(pending.service)

    def _remove(self, pending: Pending) -> None:
        del self._pending[pending.task_id]
        self._held[pending.service] -= 1
        pending.state = State.REMOVED

    def _measure(self) -> None:
        with self._lock:
            held = dict(self._held)
            in_flight = {service: len(outbound.in_flight) for service, outbound in self._outbound.items()}
        for service, number in held.items():
            EVENTS_IN_FLIGHT.labels(service).set(in_flight.get(service, 0))
            EVENTS_WAITING.labels(service).set(number - in_flight.get(service, 0))


def _is_lost(pending: Pending, queue: QueueSnapshot, now: float) -> bool:
    """Return whether the message no longer exists, or a worker has held it beyond its lease.

    The messages of a killed worker stay in its unacked hash, so the first lease is short. It doubles with each
    redelivery, so that slow handlers can finish.
    """
    if pending.message_id in queue.held:
        pending.missed_checks = 0
        pending.held_since = pending.held_since or now
        first_lease_seconds = UNACKED_TIMEOUT_SECONDS + UNACKED_TIMEOUT_PER_EVENT_SECONDS * (pending.sent_with - 1)
        lease_seconds = min(first_lease_seconds * 2**pending.resends, MAX_BACKOFF_SECONDS)
        return queue.has_passed(pending.sent_at_utc) and now - pending.held_since > lease_seconds
    pending.missed_checks = pending.missed_checks + 1 if queue.has_passed(pending.sent_at_utc) else 0
    return pending.missed_checks >= MISSED_CHECKS_UNTIL_LOST
