"""The Celery application: its configuration and the signals of workers and beat."""

import logging
import signal
from typing import Any

from celery import Celery, signals
from celery.beat import Service
from kombu.entity import Exchange, Queue

import settings
from core import log, tracing
from core.messaging.task_queue import route_task
from core.redis import tls_options, without_tls_options
from models.jobs import PERIODS_SECONDS
from settings.checks import validate_production_settings

# A worker loads only its own service: loading all six would double its start-up time and take a third more memory.
# Flower loads none, as it only shows the events of workers, and beat none, as it sends tasks by name. Tests load all.
LOADED_SERVICES = {"flower": (), "beat": (), **{service: (service,) for service in settings.SERVICES}}.get(
    settings.SERVICE, settings.SERVICES
)

# Redis may lose a hint; the next one finds the period still open. Hence at least one hint a minute.
_HINT_SECONDS = 60


def _hint(job: str) -> dict[str, Any]:
    """Return the entry of ``job`` in beat's schedule. Hints expire, so that they do not accumulate without a worker."""
    seconds = min(PERIODS_SECONDS[job], _HINT_SECONDS)
    return {"task": job, "schedule": seconds, "options": {"expires": seconds}}


celery_app = Celery("coursebus", broker=without_tls_options(settings.REDIS_URL))
celery_app.conf.update(
    include=[f"workers.{service}" for service in LOADED_SERVICES],  # imported by workers only
    task_routes=(route_task,),
    task_queues=[Queue(service, Exchange(service), routing_key=service) for service in settings.SERVICES],
    task_create_missing_queues=False,  # otherwise a typo would create a queue that no worker reads
    task_ignore_result=True,  # replies are pushed to a separate list after the commit
    task_acks_late=True,  # the task of a killed worker is delivered again …
    task_reject_on_worker_lost=True,  # … and that of a killed child process
    task_acks_on_failure_or_timeout=True,  # a failure is replied to; the sender decides about a retry
    worker_prefetch_multiplier=1,  # prefetched messages of a killed worker wait for the timeout
    worker_send_task_events=True,  # for Flower
    worker_consumer="workers.runtime.consumer:Consumer",
    worker_hijack_root_logger=False,  # keep the ECS log format
    worker_redirect_stdouts=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,  # the inbox stops a duplicate
    # instead of the URL's scheme, which would also enable TLS …
    broker_transport="core.messaging.celery_transport:Transport",
    broker_use_ssl=tls_options(settings.REDIS_URL) or None,  # … which is set here
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,  # Redis may be down for longer than the default of 100 retries
    broker_transport_options={
        # By default the message of a killed worker is delivered again after an hour only.
        "visibility_timeout": settings.VISIBILITY_TIMEOUT_SECONDS,
        "unacked_restore_interval": 5,  # with the throttle: check every 5 s for expired messages, not every 100 s
        "unacked_restore_throttle": 1,
        # Separate keys per service: with shared keys the shortest visibility timeout of all workers would apply.
        "unacked_key": f"unacked:{settings.SERVICE}",
        "unacked_index_key": f"unacked_index:{settings.SERVICE}",
        "unacked_mutex_key": f"unacked_mutex:{settings.SERVICE}",
        # A worker that dies while it restores messages keeps the mutex, which blocks all others: by default for 300 s.
        "unacked_mutex_expire": 2,
        "socket_timeout": 10,  # otherwise a publish could hang for ever
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "health_check_interval": 10,  # detects half-open connections
        "priority_steps": [0],  # one Redis list per queue
    },
    beat_schedule={job: _hint(job) for job in PERIODS_SECONDS},
    beat_max_loop_interval=5,  # so that beat retries soon after it lost Redis
)


@signals.setup_logging.connect
def _log_as_ecs(**_: object) -> None:
    log.configure(f"worker-{settings.SERVICE}" if settings.SERVICE in settings.SERVICES else "beat")
    logging.getLogger("celery").setLevel(logging.INFO)
    for name in ("celery.worker.strategy", "celery.app.trace", "celery.beat"):
        logging.getLogger(name).setLevel(logging.WARNING)  # the runtime logs each task once, with its trace


@signals.beat_init.connect
def _stop_beat_on_signal(sender: Service, **_: object) -> None:
    """Make SIGTERM and SIGINT stop beat's loop.

    Celery's own handler only raises SystemExit, which is lost if it is raised within a destructor.
    """

    def stop(*_: object) -> None:
        sender.stop()
        raise SystemExit

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


@signals.worker_init.connect
def _validate_worker_settings(**_: object) -> None:
    is_one_service = settings.SERVICE in settings.SERVICES
    validate_production_settings(f"worker-{settings.SERVICE}" if is_one_service else None)
    tracing.configure(f"worker-{settings.SERVICE}")


@signals.beat_init.connect
def _validate_beat_settings(**_: object) -> None:
    validate_production_settings("beat")
