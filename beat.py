"""Run Celery beat, which triggers the jobs: ``SERVICE=beat python -m beat`` loads no service (``celery_app.py``)."""

import time

from celery.beat import Scheduler

from celery_app import celery_app
from core import health
from core.redis import queue_redis

# While Redis is down, each tick waits for its publications to fail.
TICK_SECONDS_MAX = 300


class TickingScheduler(Scheduler):
    """A scheduler that remembers when it last looked for due jobs.

    It has no file: the jobs table records what has run.
    """

    last_tick_at = time.monotonic()

    def tick(self, *arguments: object, **options: object) -> object:
        type(self).last_tick_at = time.monotonic()
        return super().tick(*arguments, **options)


def is_ticking() -> bool:
    return time.monotonic() - TickingScheduler.last_tick_at < TICK_SECONDS_MAX


if __name__ == "__main__":
    health.serve(liveness={"scheduler": is_ticking}, readiness={"queue": lambda: queue_redis().ping()})
    celery_app.Beat(quiet=True, scheduler_cls=TickingScheduler).run()
