"""Bulkheads: limit the requests that wait for one service, so that a slow service cannot block all threads.

Requests above the limit wait in the gateway as long as the service answers others; only a service that has stopped, or
more requests than may wait, are refused.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import settings
from models.errors import ServiceOverloaded

STALL_SECONDS = 1.0  # without an answer of the service it counts as stopped
MAX_WAITING = 12  # requests of one process that wait for a slot of one service

WEBHOOKS = "webhooks"  # of all providers: each takes milliseconds, and providers resend the refused ones
_MAX_WEBHOOKS_IN_FLIGHT = 2
_MAX_WEBHOOKS_WAITING = 4
_SMOOTHING = 0.1  # weight of the newest interval between two answers in their average


class Bulkhead:
    """The requests of this process to one service: those that have a slot, and those that wait for one."""

    def __init__(self, service: str, limit: int, max_waiting: int) -> None:
        self._service = service
        self._limit = limit
        self._max_waiting = max_waiting
        self._lock = threading.Lock()
        self._in_flight = 0
        self._waiting: deque[threading.Event] = deque()  # set when a slot is handed over; empty if any slot is free
        self._full_at = 0.0  # when the last free slot was taken; monotonic
        self._released_at = 0.0
        self._interval = 0.0  # average seconds between two answers while all slots are taken

    @contextmanager
    def slot(self, patience_seconds: float) -> Iterator[None]:
        """Hold a slot within the block. Raises ServiceOverloaded."""
        self._enter(patience_seconds)
        try:
            yield
        finally:
            self._leave()

    def _enter(self, patience_seconds: float) -> None:
        with self._lock:
            if self._in_flight < self._limit:
                self._in_flight += 1
                self._full_at = time.monotonic()
                return
            if len(self._waiting) >= self._max_waiting:
                raise self._refusal(retry_after_seconds=len(self._waiting) * self._interval)
            turn = threading.Event()
            self._waiting.append(turn)
        self._await_turn(turn, patience_seconds)

    def _await_turn(self, turn: threading.Event, patience_seconds: float) -> None:
        """Wait for ``patience_seconds``; longer while the service answers, but not above the timeout of a read."""
        arrived_at = time.monotonic()
        until = arrived_at + settings.READ_TIMEOUT_SECONDS

        def left() -> float:
            return min(max(arrived_at, self._released_at) + patience_seconds, until) - time.monotonic()

        while not turn.wait(max(left(), 0)):
            with self._lock:
                if turn.is_set() or left() > 0:
                    continue
                self._waiting.remove(turn)
                # After this time every request that holds a slot has its reply or has timed out.
                raise self._refusal(retry_after_seconds=settings.COMMAND_TIMEOUT_SECONDS)

    def _leave(self) -> None:
        now = time.monotonic()
        with self._lock:
            if self._in_flight == self._limit:
                self._interval += _SMOOTHING * (now - max(self._full_at, self._released_at) - self._interval)
            self._released_at = now
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._in_flight -= 1

    def _refusal(self, retry_after_seconds: float) -> ServiceOverloaded:
        error = ServiceOverloaded(self._service)
        error.retry_after_seconds = max(math.ceil(retry_after_seconds), 1)
        return error


class Bulkheads:
    """A bulkhead for each service."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._bulkheads: dict[str, Bulkhead] = {}

    @contextmanager
    def slot(self, service: str, *, patience_seconds: float = STALL_SECONDS) -> Iterator[None]:
        """Hold a slot of ``service`` within the block.

        Raises ServiceOverloaded if too many requests wait already, or if the service answers none of those that hold a
        slot for ``patience_seconds``.
        """
        with self._bulkhead(service).slot(patience_seconds):
            yield

    def _bulkhead(self, service: str) -> Bulkhead:
        with self._lock:
            if service not in self._bulkheads:
                is_webhooks = service == WEBHOOKS
                limit = min(_MAX_WEBHOOKS_IN_FLIGHT, self._limit) if is_webhooks else self._limit
                waiting = _MAX_WEBHOOKS_WAITING if is_webhooks else MAX_WAITING
                self._bulkheads[service] = Bulkhead(service, limit, waiting)
            return self._bulkheads[service]


bulkheads = Bulkheads(settings.MAX_REQUESTS_PER_SERVICE)
