"""Calls to payment providers leave a thread of the worker for everything else."""

import threading

import pytest

import settings
from models.errors import ProviderUnavailable
from workers.payments import provider_calls


def test_calls_leave_one_thread():
    assert provider_calls.CALLS_MAX == settings.WORKER_THREADS - 1


def test_call_above_the_limit_is_refused_until_another_ends():
    limit = provider_calls.CallLimit(2, wait_seconds=0.01)
    release, started = threading.Event(), threading.Barrier(3)

    def hang() -> None:
        with limit.call("stripe"), limit.call("stripe"):  # nested: counts once
            started.wait()
            release.wait()

    hanging = [threading.Thread(target=hang) for _ in range(2)]
    for thread in hanging:
        thread.start()
    started.wait()
    with pytest.raises(ProviderUnavailable), limit.call("stripe"):
        pytest.fail("the call was started")
    release.set()
    for thread in hanging:
        thread.join()
    with limit.call("stripe"), limit.call("stripe"):
        pass
    assert all(limit._free.acquire(blocking=False) for _ in range(2))  # noqa: SLF001 every call was released once


def test_call_waits_for_another_that_ends():
    limit = provider_calls.CallLimit(1, wait_seconds=30)
    started = threading.Event()

    def short_call() -> None:
        with limit.call("yookassa"):
            started.set()

    thread = threading.Thread(target=short_call)
    thread.start()
    started.wait()
    with limit.call("yookassa"):
        thread.join()
