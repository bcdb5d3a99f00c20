"""A slow service holds some of this process's threads, never all of them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import settings
from models.errors import ServiceSlow

# A short queue before each service, so that a burst is served and only a service that stands still is refused.
_WAIT_SECONDS = 0.25


WEBHOOKS = "webhooks"  # of all providers; each is carried out in milliseconds, and repeated where it is refused
_WEBHOOKS_AT_ONCE = 2


class Bulkheads:
    """How many requests may wait for each service at the same time."""

    def __init__(self, limit: int) -> None:
        self._limits = {WEBHOOKS: min(_WEBHOOKS_AT_ONCE, limit)}
        self._limit = limit
        self._lock = threading.Lock()
        self._slots: dict[str, threading.Semaphore] = {}

    @contextmanager
    def slot(self, service: str) -> Iterator[None]:
        """Wait for ``service`` within the block. Raises ServiceSlow while enough others do."""
        slots = self._of(service)
        if not slots.acquire(timeout=_WAIT_SECONDS):
            error = ServiceSlow(service)
            # By then each of those that wait has its answer, or has given up.
            error.retry_after_seconds = settings.ASK_TIMEOUT_SECONDS
            raise error
        try:
            yield
        finally:
            slots.release()

    def _of(self, service: str) -> threading.Semaphore:
        with self._lock:
            return self._slots.setdefault(service, threading.Semaphore(self._limits.get(service, self._limit)))


bulkheads = Bulkheads(settings.ASKS_PER_SERVICE)
