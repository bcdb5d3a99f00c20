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

import settings
from core.log import get_logger
from core.messaging import task_queue
from core.redis import queue_redis
from models.commands import Ping
from models.errors import DomainError

from .tasks import per_service_task

log = get_logger(__name__)

MAX_MISSED_CHECKS = 4  # consecutive checks without a received message


@per_service_task
def ping() -> None:
    """Do nothing: receiving the message is the sign of life."""


class QueueWatchdog(threading.Thread):
    """Check from a thread of the worker that it still consumes ``queue``; call ``terminate`` when it does not."""

    def __init__(self, queue: str, terminate: Callable[[], object]) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._queue = queue
        self._terminate = terminate
        self._message_received = threading.Event()
        self._missed_checks = 0  # checks, not seconds: a process that was paused must not count the pause as silence

    def on_message(self, **_: object) -> None:
        """Record that the worker received a message."""
        self._message_received.set()

    def run(self) -> None:
        while True:
            time.sleep(settings.WATCHDOG_SECONDS)
            if self._message_received.is_set():
                self._message_received.clear()
                self._missed_checks = 0
            else:
                self.check()

    def check(self) -> None:
        """Check a worker that received nothing for one interval.

        Send a ping if the queue is empty. Otherwise count a missed check, unless tasks are in flight, and call
        ``terminate`` after MAX_MISSED_CHECKS missed checks.
        """
        try:
            if queue_redis().llen(self._queue) == 0:  # another worker of the queue may have received the last ping
                self._missed_checks = 0
                ping = Ping(service=self._queue)
                task_queue.enqueue(ping.task, ping, task_queue.Envelope())
                return
        except (RedisError, DomainError):
            self._missed_checks = 0  # Redis is down: no worker can receive messages, so a restart would not help
            return
        self._missed_checks = 0 if state.reserved_requests else self._missed_checks + 1
        if self._missed_checks >= MAX_MISSED_CHECKS:
            log.error("worker is not consuming", queue=self._queue)
            self._terminate()


@signals.worker_ready.connect
def _start_watchdog(**_: object) -> None:
    watchdog = QueueWatchdog(settings.SERVICE, terminate=lambda: os._exit(1))
    signals.task_received.connect(watchdog.on_message, weak=False)
    watchdog.start()
