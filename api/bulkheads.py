"""Bulkheads: limit the requests that wait for one service, so that a slow service cannot block all threads."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import settings
from models.errors import ServiceOverloaded

# Wait briefly for a slot: a short burst is served, and only a service that does not respond is refused.
_WAIT_SECONDS = 0.25


WEBHOOKS = "webhooks"  # of all providers: each takes milliseconds, and providers resend the refused ones
_MAX_WEBHOOKS_IN_FLIGHT = 2


class Bulkheads:
    """Semaphores by service: how many requests of this process may wait for it at the same time."""

    def __init__(self, limit: int) -> None:
        self._limits = {WEBHOOKS: min(_MAX_WEBHOOKS_IN_FLIGHT, limit)}
        self._limit = limit
        self._lock = threading.Lock()
        self._slots: dict[str, threading.Semaphore] = {}

    @contextmanager
    def slot(self, service: str) -> Iterator[None]:
        """Hold a slot of ``service`` within the block.

        Raises ServiceOverloaded if none becomes free within _WAIT_SECONDS.
        """
        slots = self._semaphore(service)
        if not slots.acquire(timeout=_WAIT_SECONDS):
            error = ServiceOverloaded(service)
            # After this time every request that holds a slot has its reply or has timed out.
            error.retry_after_seconds = settings.COMMAND_TIMEOUT_SECONDS
            raise error
        try:
            yield
        finally:
            slots.release()

    def _semaphore(self, service: str) -> threading.Semaphore:
        with self._lock:
            return self._slots.setdefault(service, threading.Semaphore(self._limits.get(service, self._limit)))


bulkheads = Bulkheads(settings.MAX_REQUESTS_PER_SERVICE)
