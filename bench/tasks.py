"""Tasks of the benchmarks: ``celery -A bench.tasks worker`` runs a worker, ``python -m bench.tasks`` a bridge."""

import os
import sys

from sqlalchemy.orm import Session

from bridge import __main__ as bridge
from bridge.metrics import BusCollector
from celery_app import celery_app as app
from core.redis import queue_redis
from models.events import LessonCompleted
from models.events.routes import ROUTES
from workers.runtime.tasks import TaskDefinition, register

__all__ = ["app"]


def noop() -> None:
    """Do nothing; measures the delivery of a command and its reply."""


def handle(session: Session, *, event: LessonCompleted) -> None:
    """Do nothing; measures the inbox and the commit of an event."""


def bare(*, reply_to: str) -> None:
    """Push one byte; measures Celery and Redis without envelope, reply and deadline."""
    queue_redis().rpush(reply_to, b"1")


register("progress.noop", TaskDefinition(noop))
register("progress.handle", TaskDefinition(handle))
app.task(bare, name="progress.bare")
app.task(bare, name="users.bare")
if os.environ.get("CELERY_DEFAULT_TRANSPORT"):
    app.conf.update(broker_transport=None, worker_consumer="celery.worker.consumer:Consumer")

# A benchmark scrapes the bridge twice a second instead of every 15 seconds; the queries would be a part of the result.
BusCollector.collect = lambda _self: iter(())  # type: ignore[method-assign]
ROUTES.clear()
ROUTES["LESSON_COMPLETED"] = ["progress.handle"]

if __name__ == "__main__":
    sys.exit(bridge.serve())
