"""Limit of concurrent calls to payment providers, so that a provider that hangs leaves a thread for everything else."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import settings
from models.errors import ProviderUnavailable

CALLS_MAX = settings.WORKER_THREADS - 1  # events, reads and jobs keep one thread
_CONNECT_SECONDS = 3.0
_WAIT_SECONDS = 1.0  # for the end of another call: a healthy provider answers within a second


class CallLimit:
    """A number of concurrent calls. A thread may nest calls: they count once."""

    def __init__(self, calls_max: int, *, wait_seconds: float) -> None:
        self._free = threading.BoundedSemaphore(calls_max)
        self._wait_seconds = wait_seconds
        self._of_thread = threading.local()

    @contextmanager
    def call(self, provider: str) -> Iterator[None]:
        """Count a call to ``provider`` while the block runs. Raises ProviderUnavailable if all calls stay busy."""
        if getattr(self._of_thread, "is_calling", False):
            yield
            return
        if not self._free.acquire(timeout=self._wait_seconds):
            raise ProviderUnavailable(provider)
        self._of_thread.is_calling = True
        try:
            yield
        finally:
            self._of_thread.is_calling = False
            self._free.release()


def timeouts_seconds() -> tuple[float, float]:
    """Return the timeouts of a request: to connect, and to wait for the next byte of the answer."""
    return _CONNECT_SECONDS, settings.PROVIDER_TIMEOUT_SECONDS


limit = CallLimit(CALLS_MAX, wait_seconds=_WAIT_SECONDS)
