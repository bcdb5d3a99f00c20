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
from collections import defaultdict
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from typing import Any
from uuid import uuid4

import msgspec
from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError

import celery_app
import settings
from models.errors import DomainError
from models.faults import reach
from models.log import get_logger
from models.redis import queue_redis

from .deadletters import DeadLetters
from .lanes import Partition, Record, attributes_of
from .lost import Queue, look_at_queues
from .metrics import EVENTS_IN_FLIGHT, EVENTS_RESENT, EVENTS_WAITING, count_handled
from .outbound import Outbound, Pending, State, task_id_of

log = get_logger(__name__)

UNANSWERED_SECONDS = 1.0  # without a reply for this long, check whether the message still exists
LOOK_SECONDS = 0.25  # interval of that check
HELD_SECONDS = 3.0  # a worker that holds a message for longer may be dead
LOOKS_MISSED = 2  # while a worker takes a message, it is briefly neither in the queue nor in the worker's unacked hash
LONGEST_WAIT_SECONDS = 30.0
CLOSED_SECONDS = 0.5  # pause for a queue after it was full or Redis did not answer
FAILED_TURNS = 50  # consecutive failures after which the process ends; its supervisor restarts it
_TICK_SECONDS = 0.2
_REPLIES_AT_ONCE = 100
_DELAYED_AT_ONCE = 200
PARKED = "parked"


class Dispatcher(threading.Thread):
    """Sends events to handlers and reads their replies from one list for the whole process.

    An unexpected error in a reply or in an iteration of the loop is logged and the loop continues; the affected event
    is sent again. An error in a consumer's callback ends the thread, and with it the process: the consumer's state may
    be inconsistent, and only a restart rebuilds it from Kafka.
    """

    def __init__(self, stop: threading.Event, dead_letters: DeadLetters) -> None:
        super().__init__(name="dispatch", daemon=True)
        self._stop_asked = stop
        self._dead_letters = dead_letters
        self._reply_to = f"reply:bridge:{uuid4()}"
        self._lock = threading.Lock()
        self._pending: dict[str, Pending] = {}  # by task id
        self._outbound: dict[str, Outbound] = defaultdict(Outbound)  # by service
        self._delayed: list[tuple[float, int, Pending]] = []  # a heap, by the time of the next attempt
        self._numbers = itertools.count()
        self._dead: SimpleQueue[tuple[Pending, str]] = SimpleQueue()
        self._callback_failed = threading.Event()
        self._next_look_at = 0.0

    def __len__(self) -> int:
        return len(self._pending)

    def learn_blocked_keys(self) -> None:
        """Read the blocked keys from the databases. Raises DBAPIError."""
        self._dead_letters.reload()

    def dispatch(self, handler: str, record: Record, done: Callable[[], None]) -> None:
        """Send ``record`` to ``handler``; call ``done`` when it is handled or dead-lettered.

        ``done`` is called from another thread. If another caller dispatched the same event to the handler and it is
        still pending, it is not sent twice; both callbacks are called.
        """
        with self._lock:
            if pending := self._pending.get(task_id_of(handler, record.event_id)):
                pending.done.append(done)
                return
            pending = Pending(handler, record, [done])
            self._pending[pending.task_id] = pending
        pending.parked = self._dead_letters.blocks(handler, record.key)
        self._go_on(pending)

    def forget(self, service: str, partitions: Iterable[Partition]) -> list[Record]:
        """Discard unsent events of revoked partitions and return them. Events in flight stay until their reply."""
        lost, forgotten = set(partitions), list[Record]()
        with self._lock:
            for pending in list(self._pending.values()):
                place = (pending.record.topic, pending.record.partition)
                is_unsent = pending.state in {State.READY, State.DELAYED} and len(pending.done) == 1
                if is_unsent and pending.service == service and place in lost:
                    pending.state = State.FORGOTTEN
                    del self._pending[pending.task_id]
                    forgotten.append(pending.record)
        return forgotten

    def run(self) -> None:
        writer = threading.Thread(target=self._write_dead_letters, name="dead-letters", daemon=True)
        writer.start()
        failed = 0
        while not self._stop_asked.is_set() and not self._callback_failed.is_set() and failed < FAILED_TURNS:
            try:
                self._turn()
                failed = 0
            except RedisError:
                self._stop_asked.wait(_TICK_SECONDS)
            except Exception:  # the events of all services depend on this thread
                failed += 1
                log.exception("dispatcher stumbled")
                self._stop_asked.wait(_TICK_SECONDS)
        if self._stop_asked.is_set():
            writer.join(1)

    def _turn(self) -> None:
        self._hear_replies(_TICK_SECONDS)
        self._release_delayed()
        for service in list(self._outbound):
            self._send_ready(service)
        if time.monotonic() >= self._next_look_at:
            self._next_look_at = time.monotonic() + LOOK_SECONDS
            self._measure()
            self._resend_lost()

    # Replies.

    def _hear_replies(self, seconds: float) -> int:
        """Wait for replies and process them; return their number. Raises RedisError."""
        popped: Any = queue_redis().blmpop(seconds, 1, self._reply_to, direction="LEFT", count=_REPLIES_AT_ONCE)
        replies: list[bytes] = popped[1] if popped else []
        for raw in replies:
            try:
                self._hear(msgspec.json.decode(raw))
            except Exception:  # continue with the other replies; this event is sent again
                log.exception("reply not understood")
        return len(replies)

    def _hear(self, reply: dict[str, Any]) -> None:
        with self._lock:
            pending = self._pending.get(reply["task_id"])
            if pending is None:
                return  # a duplicate reply: the event was sent twice
            was_in_flight = self._outbound[pending.service].in_flight.pop(pending.task_id, None) is not None
        if "result" in reply:
            self._finish(pending, handled=True)
        elif "poison" in reply:
            self._make_dead(pending, pending.last_error)
        elif was_in_flight:
            self._put_off(pending, reply)

    def _put_off(self, pending: Pending, reply: dict[str, Any]) -> None:
        """Schedule a retry with exponential backoff.

        Transient errors are retried for EVENT_WAIT_SECONDS. Other errors count as attempts; the worker answers "poison"
        after the last one.
        """
        now, error = time.monotonic(), reply.get("error")
        transient = isinstance(error, dict) and DomainError.from_wire(error).transient
        pending.last_error = str(reply.get("crash") or error or "an answer without an outcome")
        pending.attempt = 1 if transient else pending.attempt + 1
        if transient:
            pending.waiting_since = pending.waiting_since or now
            if now - pending.waiting_since >= settings.EVENT_WAIT_SECONDS:
                self._make_dead(pending, f"waited too long: {pending.last_error}")
                return
        pending.refusals += 1
        wait_seconds = min(0.1 * 2 ** min(pending.refusals, 20), LONGEST_WAIT_SECONDS)
        self._delay(pending, wait_seconds * random.uniform(0.75, 1.25))
        event_id, reason = pending.record.event_id, pending.last_error
        log.info("handler put off", handler=pending.handler, event_id=event_id, reason=reason)

    def _finish(self, pending: Pending, *, handled: bool) -> None:
        with self._lock:
            if self._pending.get(pending.task_id) is not pending:
                return
            del self._pending[pending.task_id]
            pending.state = State.FORGOTTEN
        if handled:
            count_handled(pending.handler, pending.record)
        try:
            for done in pending.done:
                done()
        except Exception:  # the consumer's state may be inconsistent: see the class docstring
            log.exception("callback failed", handler=pending.handler, event_id=pending.record.event_id)
            self._callback_failed.set()

    # Sending.

    def _go_on(self, pending: Pending) -> None:
        if pending.parked:
            self._make_dead(pending, PARKED)
        else:
            self._make_ready(pending)

    def _make_ready(self, pending: Pending) -> None:
        with self._lock:
            self._outbound[pending.service].add(pending)
        self._send_ready(pending.service)

    def _delay(self, pending: Pending, seconds: float) -> None:
        with self._lock:
            pending.state = State.DELAYED
            heapq.heappush(self._delayed, (time.monotonic() + seconds, next(self._numbers), pending))

    def _release_delayed(self) -> None:
        now, due = time.monotonic(), list[Pending]()
        with self._lock:
            while self._delayed and self._delayed[0][0] <= now and len(due) < _DELAYED_AT_ONCE:
                due.append(heapq.heappop(self._delayed)[2])
        for pending in due:
            if pending.state is State.DELAYED:
                self._go_on(pending)

    def _send_ready(self, service: str) -> None:
        """Send events of ``service`` up to EVENTS_IN_FLIGHT.

        Bounded, because the caller may be a consumer's thread, which must not send for all others without end.
        """
        for _ in range(settings.EVENTS_IN_FLIGHT):
            with self._lock:
                pending = self._outbound[service].take()
            if pending is None:
                return
            try:
                self._send(pending)
            except DomainError:  # the queue is full, or Redis does not answer
                with self._lock:
                    self._outbound[service].put_back(pending, closed_seconds=CLOSED_SECONDS)
                return

    def _send(self, pending: Pending) -> None:
        record = pending.record
        envelope = celery_app.Envelope(
            reply_to=self._reply_to,
            request_id=record.headers.get("ce_correlationid"),
            traceparent=record.headers.get("traceparent"),
            event_id=record.event_id,
            event_headers=attributes_of(record.headers),
            attempt=pending.attempt,
        )
        celery_app.send(pending.handler, {"event": record.value}, envelope, task_id=pending.task_id)
        reach("sent", pending.handler)

    # Lost messages.

    def _resend_lost(self) -> None:
        """Send events again whose message was lost; checks all of them by one round trip. Raises RedisError."""
        now = time.monotonic()
        with self._lock:
            overdue = [
                pending
                for outbound in self._outbound.values()
                for pending in outbound.in_flight.values()
                if now - pending.sent_at > UNANSWERED_SECONDS
            ]
        if not overdue:
            return
        queues = look_at_queues({pending.service for pending in overdue})
        self._hear_replies_that_are_there()  # a worker replies before it acknowledges: the reply may already be there
        for pending in overdue:
            with self._lock:
                in_flight = self._outbound[pending.service].in_flight
                is_lost = in_flight.get(pending.task_id) is pending and _is_lost(pending, queues[pending.service], now)
                if is_lost:
                    del in_flight[pending.task_id]
                    pending.attempt += 1  # the message may have crashed the worker
                    pending.resends += 1
                    self._outbound[pending.service].add(pending)
            if is_lost:
                EVENTS_RESENT.labels(pending.service).inc()
                log.info("message lost, event sent again", handler=pending.handler, event_id=pending.record.event_id)
                self._send_ready(pending.service)

    def _hear_replies_that_are_there(self) -> None:
        for _ in range(10):
            if self._hear_replies(0.01) < _REPLIES_AT_ONCE:
                return

    # Dead letters: written by a separate thread, because a database that does not answer must not delay replies.

    def _make_dead(self, pending: Pending, reason: str) -> None:
        pending.state = State.DEAD
        self._dead.put((pending, reason))

    def _write_dead_letters(self) -> None:
        while not self._stop_asked.is_set():
            try:
                pending, reason = self._dead.get(timeout=_TICK_SECONDS)
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
        if self._dead_letters.bury(pending.handler, pending.record, reason):
            self._finish(pending, handled=False)
        else:
            pending.parked = False  # its key is free again
            self._make_ready(pending)

    def _measure(self) -> None:
        with self._lock:
            held = dict.fromkeys(self._outbound, 0)
            for pending in self._pending.values():
                held[pending.service] = held.get(pending.service, 0) + 1
            in_flight = {service: len(outbound.in_flight) for service, outbound in self._outbound.items()}
        for service, number in held.items():
            EVENTS_IN_FLIGHT.labels(service).set(in_flight.get(service, 0))
            EVENTS_WAITING.labels(service).set(number - in_flight.get(service, 0))


def _is_lost(pending: Pending, queue: Queue, now: float) -> bool:
    """Return whether the message no longer exists, or a worker has held it beyond its lease.

    The messages of a killed worker stay in its unacked hash, so the first lease is short. It doubles with each
    redelivery, so that slow handlers can finish.
    """
    if pending.task_id in queue.held:
        pending.looks_missed = 0
        pending.taken_since = pending.taken_since or now
        lease_seconds = min(HELD_SECONDS * 2**pending.resends, LONGEST_WAIT_SECONDS)
        return queue.has_passed(pending.sent_at_utc) and now - pending.taken_since > lease_seconds
    pending.looks_missed = pending.looks_missed + 1 if queue.has_passed(pending.sent_at_utc) else 0
    return pending.looks_missed >= LOOKS_MISSED
