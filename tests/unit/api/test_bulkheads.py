"""Requests wait for a service as long as it answers, and are refused once it has stopped."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import pytest

import settings
from api.bulkheads import MAX_WAITING, WEBHOOKS, Bulkheads
from models.errors import ServiceOverloaded
from ops import gunicorn
from tests.support.polling import eventually


@pytest.fixture
def pool() -> ThreadPoolExecutor:
    with ThreadPoolExecutor(MAX_WAITING + 1) as threads:
        yield threads


def hold(bulkheads: Bulkheads, release: threading.Event | None = None, **options: float) -> None:
    with bulkheads.slot("courses", **options):
        if release:
            release.wait(10)


def waiting(bulkheads: Bulkheads) -> Callable[[], int]:
    return lambda: len(bulkheads._bulkhead("courses")._waiting)  # noqa: SLF001


def test_requests_wait_in_order_while_the_service_answers(pool: ThreadPoolExecutor):
    bulkheads, served = Bulkheads(1), []

    def request(number: int) -> None:
        with bulkheads.slot("courses", patience_seconds=0.5):
            time.sleep(0.2)  # the answers take longer in sum than the patience of the last request
            served.append(number)

    requests: list[Future[None]] = []
    with bulkheads.slot("courses"):
        for number in range(4):
            requests.append(pool.submit(request, number))
            eventually(lambda number=number: waiting(bulkheads)() == number + 1, "the request in the queue")
    for each in requests:
        each.result()

    assert served == [0, 1, 2, 3]


def test_stopped_service_is_refused_and_leaves_no_trace(pool: ThreadPoolExecutor):
    bulkheads, release = Bulkheads(1), threading.Event()
    holder = pool.submit(hold, bulkheads, release)
    with pytest.raises(ServiceOverloaded) as refused:
        hold(bulkheads, patience_seconds=0.05)
    release.set()
    holder.result()

    assert refused.value.retry_after_seconds == settings.COMMAND_TIMEOUT_SECONDS
    assert waiting(bulkheads)() == 0
    hold(bulkheads)


def test_request_is_refused_at_once_if_too_many_wait(pool: ThreadPoolExecutor):
    bulkheads, release = Bulkheads(1), threading.Event()
    hold(bulkheads)  # the service has just answered
    with ExitStack() as holding:
        holding.enter_context(bulkheads.slot("courses"))
        for _ in range(MAX_WAITING):
            pool.submit(hold, bulkheads, release)
        eventually(lambda: waiting(bulkheads)() == MAX_WAITING, "the waiting requests")
        began = time.monotonic()
        with pytest.raises(ServiceOverloaded) as refused:
            hold(bulkheads)
        release.set()

    assert time.monotonic() - began < 0.5
    assert 1 <= refused.value.retry_after_seconds <= settings.COMMAND_TIMEOUT_SECONDS


def test_one_service_and_the_webhooks_leave_threads_to_the_others():
    bulkheads = Bulkheads(settings.MAX_REQUESTS_PER_SERVICE)
    taken = [bulkheads._bulkhead(name) for name in ("courses", WEBHOOKS)]  # noqa: SLF001

    assert sum(each._limit + each._max_waiting for each in taken) < gunicorn.threads  # noqa: SLF001
