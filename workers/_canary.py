"""Watchdog that ends a worker process that stopped consuming its queue although its connection is open.

An idle worker sends a ping to its own queue. If messages wait in the queue, no task is in flight and no message is
received for several checks in a row, the process exits and its supervisor restarts it. No message is lost, because the
worker has none in flight.
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

DEAF_AFTER = 4  # consecutive checks without a received message


@task_of_every_service
def ping() -> None:
    """Do nothing: receiving the message is the sign of life."""


class Canary(threading.Thread):
    """Check from a thread of the worker that it still consumes ``queue``; call ``end`` when it does not."""

    def __init__(self, queue: str, end: Callable[[], object]) -> None:
        super().__init__(name="canary", daemon=True)
        self._queue = queue
        self._end = end
        self._heard = threading.Event()
        self._silent = 0  # checks, not seconds: a process that was paused must not count the pause as silence

    def hear(self, **_: object) -> None:
        """Record that the worker received a message."""
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
        """Check a worker that received nothing for one interval.

        Send a ping if the queue is empty. Otherwise count a missed check, unless tasks are in flight, and call ``end``
        after DEAF_AFTER missed checks.
        """
        try:
            if queue_redis().llen(self._queue) == 0:  # another worker of the queue may have received the last ping
                self._silent = 0
                celery_app.send(f"{self._queue}.ping", {}, celery_app.Envelope())
                return
        except (RedisError, DomainError):
            self._silent = 0  # Redis is down: no worker can receive messages, so a restart would not help
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
