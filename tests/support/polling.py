"""Waiting for what comes by itself."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Found = TypeVar("Found")


def eventually(check: Callable[[], Found], what: str = "it", *, seconds: float = 15) -> Found:
    """The first true answer of ``look``. Fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (found := poll_once(check)):
        assert time.monotonic() < deadline, f"{what} did not come within {seconds:g} s"
    return found


def poll_once(check: Callable[[], Found]) -> Found:
    """What ``look`` finds; after an empty look a pause, in which what is waited for has most of the machine."""
    began = time.monotonic()
    found = check()
    if not found:
        time.sleep(min(max(0.02, 4 * (time.monotonic() - began)), 0.5))
    return found


def assert_never(check: Callable[[], Any], what: str = "it", *, seconds: float = 0.5) -> None:
    """Fails as soon as ``look`` is true within ``seconds``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert not check(), f"{what} came"
        time.sleep(0.02)


def run_concurrently(*functions: Callable[[], Any]) -> list[Any]:
    """What each of ``acts`` returned, all begun at the same moment in threads of their own."""
    barrier = threading.Barrier(len(functions))

    def begin(act: Callable[[], Any]) -> Any:
        barrier.wait()
        return act()

    with ThreadPoolExecutor(len(functions)) as pool:
        return list(pool.map(begin, functions))
