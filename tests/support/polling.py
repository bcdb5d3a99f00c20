"""Waiting for conditions, and concurrent calls."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

Found = TypeVar("Found")
# A killed broker, its empty log refilled, and consumer groups that rejoin, on a loaded machine. Only a test that fails
# waits that long.
TIMEOUT_SECONDS = 45


def eventually(check: Callable[[], Found], what: str = "a result", *, seconds: float = TIMEOUT_SECONDS) -> Found:
    """Call ``check`` until its result is true; return that result. Fails after ``seconds``.

    A failed connection counts as no result: the server may be restarting.
    """
    deadline = time.monotonic() + seconds
    while not (found := poll_once(check)):
        assert time.monotonic() < deadline, f"timed out after {seconds:g} s waiting for {what}"
    return found


def poll_once(check: Callable[[], Found]) -> Found | None:
    """Return the result of ``check``; if it is false, sleep first and leave most of the CPU to other processes."""
    began, found = time.monotonic(), None
    with suppress(OSError):  # includes the errors of requests
        found = check()
    if not found:
        time.sleep(min(max(0.02, 4 * (time.monotonic() - began)), 0.5))
    return found


def assert_never(check: Callable[[], Any], what: str = "a true result", *, seconds: float = 0.5) -> None:
    """Fail as soon as ``check`` returns a true value within ``seconds``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert not check(), f"unexpected: {what}"
        time.sleep(0.02)


def run_concurrently(*functions: Callable[[], Any]) -> list[Any]:
    """Start all ``functions`` at the same moment, each in its own thread; return their results."""
    barrier = threading.Barrier(len(functions))

    def run(function: Callable[[], Any]) -> Any:
        barrier.wait()
        return function()

    with ThreadPoolExecutor(len(functions)) as pool:
        return list(pool.map(run, functions))
