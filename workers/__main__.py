"""Run the worker of the service that ``SERVICE`` names: ``python -m workers``.

Celery's command line also imports Flower and a shell, which takes 0.4 s of processor time and 12 MiB.
"""

import os
import sys

from celery.utils.nodenames import gethostname, nodename

import settings
from celery_app import celery_app
from workers.runtime.thread_pool import ThreadPool

HEARTBEAT_SECONDS = 10  # for Flower; with the default of 2 s every worker, Redis and Flower wake up as often


def main() -> int:
    """Run until SIGTERM and return the exit status."""
    if settings.SERVICE not in settings.SERVICES:
        raise SystemExit(f"SERVICE must be one of {', '.join(settings.SERVICES)}")
    name = settings.SERVICE if settings.WORKER_NUMBER == 1 else f"{settings.SERVICE}-{settings.WORKER_NUMBER}"
    worker = celery_app.Worker(
        hostname=nodename(name, gethostname()),
        queues=[settings.SERVICE],
        pool_cls=ThreadPool,
        concurrency=settings.WORKER_THREADS,
        task_events=True,
        heartbeat_interval=HEARTBEAT_SECONDS,
        without_gossip=True,  # messages between workers, which no worker here uses
        without_mingle=True,
        quiet=True,  # no banner in the log
    )
    worker.start()
    status = int(worker.exitcode or 0)
    if (
        worker.pool and worker.pool.unfinished
    ):  # their messages are in the queue again; Python would wait for their threads
        sys.stdout.flush()
        os._exit(status)
    return status


if __name__ == "__main__":
    sys.exit(main())
