"""A backlog grows faster than it is handled while the broker loses its log; new purchases still give access."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

from tests.support.polling import eventually

from .chaos_platform import ChaosPlatform, Learner

CLIENTS = 3
SIZES = (40, 80, 120)  # backlog sizes in deliveries to handlers; the broker's log is lost at each size except the last
ACCESS_SECONDS = 45  # from payment to access, including a restart of the broker on a loaded machine
IDLE_TIMEOUT_SECONDS = 180


class Buyers:
    """Clients that buy a course for one new learner after another; one client also waits for access."""

    def __init__(self, chaos_platform: ChaosPlatform) -> None:
        self._chaos_platform = chaos_platform
        self._end = threading.Event()
        self.learners: list[Learner] = []
        self.access_seconds: list[float] = []

    @contextmanager
    def buying(self) -> Iterator[None]:
        with ThreadPoolExecutor(CLIENTS + 1) as pool:
            clients = [pool.submit(self._buy_until_stopped, await_access=client == 0) for client in range(CLIENTS + 1)]
            try:
                yield
            finally:
                self._end.set()
            for client in clients:
                client.result()

    def _buy_until_stopped(self, *, await_access: bool) -> None:
        course_id = self._chaos_platform.paid_courses[0]["id"]
        while not self._end.is_set():
            learner = Learner(self._chaos_platform).register()
            self.learners.append(learner)
            learner.pay_for(course_id)
            paid = time.monotonic()
            if await_access:
                learner.await_access(course_id)
                self.access_seconds.append(time.monotonic() - paid)


def backlog_above(size: int, chaos_platform: ChaosPlatform) -> int:
    """Return the number of pending deliveries to handlers if it is above ``size``, else 0."""
    left = chaos_platform.platform.unhandled()
    return left if left > size else 0


def test_new_purchases_give_access_while_a_backlog_grows(chaos_platform: ChaosPlatform) -> None:
    chaos_platform.wait_until_idle()
    buyers, sizes = Buyers(chaos_platform), list[int]()  # sizes grow

    with chaos_platform.paused("worker-notifications"), buyers.buying():
        for size in SIZES:
            sizes.append(eventually(partial(backlog_above, size, chaos_platform), f"a backlog of {size}", seconds=90))
            if size != SIZES[-1]:
                chaos_platform.wipe_kafka()
    rest_seconds = chaos_platform.wait_until_idle(seconds=IDLE_TIMEOUT_SECONDS)

    records = [each for learner in buyers.learners for each in learner.records]
    print(f"purchases {len(buyers.learners)}, backlog {sizes}, rest after {rest_seconds:.1f} s")
    print(f"seconds to access {[round(each, 1) for each in buyers.access_seconds]}")
    assert 0 < max(buyers.access_seconds) < ACCESS_SECONDS
    assert chaos_platform.findings(records, users=[learner.user_id for learner in buyers.learners]) == []
