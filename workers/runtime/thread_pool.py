"""Celery's pool of threads with a limit for a graceful stop.

Celery waits for running tasks without a limit. A task that waits for a provider could outlast the grace period of the
supervisor. The worker would be killed, and its messages would be delivered again after VISIBILITY_TIMEOUT_SECONDS only.
"""

from concurrent.futures import Future, wait
from typing import Any

from celery.concurrency.thread import ApplyResult, TaskPool

import settings
from core.log import get_logger

log = get_logger(__name__)


class ThreadPool(TaskPool):
    """Threads that execute the tasks of a worker."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.unfinished = set[Future[Any]]()

    def on_apply(self, *args: Any, **kwargs: Any) -> ApplyResult:
        result = super().on_apply(*args, **kwargs)
        self.unfinished.add(result.f)
        result.f.add_done_callback(self.unfinished.discard)
        return result

    def on_stop(self) -> None:
        """Wait for running tasks, at most WORKER_STOP_SECONDS.

        Messages that are not acknowledged then return to the queue when the worker closes its channel.
        """
        self.executor.shutdown(wait=False, cancel_futures=True)
        wait(self.unfinished.copy(), timeout=settings.WORKER_STOP_SECONDS)
        if self.unfinished:
            log.warning("tasks return to the queue", count=len(self.unfinished))
