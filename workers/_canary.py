"""Finds a worker that is up but deaf: its process runs, its connection stands, and it takes nothing off its queue.

Each worker pings its own queue while it hears nothing else. One that hears nothing although messages wait, with nothing
in hand, ends itself, and its supervisor starts another. It loses nothing by that: it holds nothing.
"""

import os
import threading
import time
from collections.abc import Callable

from celery import signals
from celery.worker import state
from redis.exceptions import RedisError

import celery_app
import settings
from models.errors import DomainError
from models.log import get_logger
from models.redis import queue_redis

from ._tasks import task_of_every_service

log = get_logger(__name__)

DEAF_AFTER = 4  # looks in a row


@task_of_every_service
def ping() -> None:
    """Nothing: that it was heard is the answer."""


class Canary(threading.Thread):
    """Looks after the worker of ``queue`` in its own process; ``end`` is called when it is deaf."""

    def __init__(self, queue: str, end: Callable[[], object]) -> None:
        super().__init__(name="canary", daemon=True)
        self._queue = queue
        self._end = end
        self._heard = threading.Event()
        self._silent = 0  # looks in a row, not seconds: a process that was paused has missed nothing

    def hear(self, **_: object) -> None:
        """A message has come."""
        self._heard.set()

    def run(self) -> None:
        while True:
            time.sleep(settings.CANARY_SECONDS)
            if self._heard.is_set():
                self._heard.clear()
                self._silent = 0
            else:
                self.look()

    def look(self) -> None:
        """After a silent period: ping, or count what waits unheard, or end."""
        try:
            if queue_redis().llen(self._queue) == 0:  # another worker may have heard our last ping
                self._silent = 0
                celery_app.send(f"{self._queue}.ping", {}, celery_app.Envelope())
                return
        except (RedisError, DomainError):
            self._silent = 0  # Redis is away: there is nothing to be heard
            return
        self._silent = 0 if state.reserved_requests else self._silent + 1
        if self._silent >= DEAF_AFTER:
            log.error("worker is deaf", queue=self._queue)
            self._end()


@signals.worker_ready.connect
def _watch(**_: object) -> None:
    canary = Canary(settings.SERVICE, end=lambda: os._exit(1))
    signals.task_received.connect(canary.hear, weak=False)
    canary.start()
