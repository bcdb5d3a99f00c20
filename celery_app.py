"""The Celery application, and the only function that sends messages to it.

A task ``<service>.<verb>`` is sent to the queue ``<service>``. Redis is never the only place of a commitment: if it
loses messages, they are sent again, and no purchase is lost (docs/decisions/0002).
"""

import base64
import logging
import math
import os
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import msgspec
from celery import Celery, signals
from celery.beat import Service
from kombu.entity import Exchange, Queue
from redis.exceptions import RedisError

import settings
from models import log
from models.errors import QueueFull, Unavailable
from models.faults import reach
from models.redis import queue_redis, tls_options, without_tls_options


def queue_of(name: str, *_: object, **__: object) -> dict[str, str]:
    """Route a task to the queue of the service in its name."""
    return {"queue": name.partition(".")[0]}


# A worker loads only its own service: loading all six would double its start-up time and take a third more memory.
# Beat and tests load all.
LOADED = (settings.SERVICE,) if settings.SERVICE in settings.SERVICES else settings.SERVICES

celery_app = Celery("coursebus", broker=without_tls_options(settings.REDIS_URL))
celery_app.conf.update(
    include=[f"workers.{service}" for service in LOADED],  # imported by workers only
    task_routes=(queue_of,),
    task_queues=[Queue(service, Exchange(service), routing_key=service) for service in settings.SERVICES],
    task_create_missing_queues=False,  # otherwise a typo would create a queue that no worker reads
    task_ignore_result=True,  # replies are pushed to a separate list after the commit
    task_acks_late=True,  # the task of a killed worker is delivered again …
    task_reject_on_worker_lost=True,  # … and that of a killed child process
    task_acks_on_failure_or_timeout=True,  # a failure is replied to; the sender decides about a retry
    worker_prefetch_multiplier=1,  # prefetched messages of a killed worker wait for the timeout
    worker_send_task_events=True,  # for Flower
    worker_consumer="workers._consumer:Consumer",
    worker_hijack_root_logger=False,  # keep the ECS log format
    worker_redirect_stdouts=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,  # the inbox stops a duplicate
    broker_transport="models.broker:Transport",  # instead of the URL's scheme, which would also enable TLS …
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
    beat_schedule={},  # filled by @job
    beat_scheduler="celery.beat:Scheduler",  # no schedule file: the jobs table records what has run
    beat_max_loop_interval=5,  # so that beat retries soon after it lost Redis
)


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """Metadata of a message. Times are seconds since 1970, UTC.

    Sender and reader may run different versions: a reader ignores unknown fields, and a new field needs a default.
    """

    sent_at: float = field(default_factory=time.time)
    expires_at: float | None = None  # deadline: the task is not started after it
    reply_to: str | None = None  # a Redis list
    request_id: str | None = None
    traceparent: str | None = None
    causation_id: str | None = None  # the event or command that caused this task, if it is not ``event_id``
    actor: str | None = None  # the staff user or client that sent the command: user:<id>, client:<id>
    claim: dict[str, Any] | None = None  # models.idempotency.Claim
    event_id: str | None = None  # of the event that started this task
    event_headers: dict[str, str] | None = None  # its CloudEvents attributes, as stored on Kafka
    attempt: int = 1  # above 1: an earlier attempt with this event failed or was lost

    @property
    def event_version(self) -> int | None:
        """Return the version of the event's aggregate (``ce_sequence``); None if no event started the task."""
        sequence = (self.event_headers or {}).get("ce_sequence")
        return int(sequence) if sequence else None


# A script, so that check and push are atomic and cost one round trip. Returns the oldest message if the queue is full.
_PUSH_BELOW_LIMIT = queue_redis().register_script("""
    if redis.call('LLEN', KEYS[1]) >= tonumber(ARGV[2]) then return redis.call('LINDEX', KEYS[1], -1) end
    return redis.call('LPUSH', KEYS[1], ARGV[1])
""")
_LONGEST_RETRY_AFTER_SECONDS = 60  # upper bound, because a stalled queue may recover at any time
_ORIGIN = f"{os.getpid()}@{socket.gethostname()}"
_NO_CALLBACKS = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def new_task_id() -> str:
    return str(uuid4())


def send(
    task: str,
    message: Mapping[str, Any],
    envelope: Envelope,
    *,
    task_id: str | None = None,
    limit: int = settings.QUEUE_LIMIT,
) -> str:
    """Push ``message`` to the queue of ``task``; return the task id. Takes a quarter of the time of ``apply_async``.

    Raises QueueFull if ``limit`` messages are in the queue, Unavailable if Redis does not answer.
    """
    task_id = task_id or new_task_id()
    queue = queue_of(task)["queue"]
    reach("before the push", task)
    try:
        pushed = _PUSH_BELOW_LIMIT(keys=[queue], args=[_celery_message(task, task_id, queue, message, envelope), limit])
    except RedisError as error:
        raise Unavailable("The queue") from error
    if isinstance(pushed, bytes):
        raise _queue_full(queue, oldest=pushed)
    reach("after the push", task)
    return task_id


def _queue_full(queue: str, *, oldest: bytes) -> QueueFull:
    """Return QueueFull with Retry-After set to the age of the oldest message, which estimates the waiting time."""
    error = QueueFull(queue)
    if sent_at := sent_at_of(oldest):
        waited_seconds = math.ceil(time.time() - sent_at)
        error.retry_after_seconds = min(max(waited_seconds, 1), _LONGEST_RETRY_AFTER_SECONDS)
    return error


class _SentAt(msgspec.Struct):
    sent_at: float


class _QueuedHeaders(msgspec.Struct):
    envelope: _SentAt | None = None


class _QueuedMessage(msgspec.Struct):
    headers: _QueuedHeaders


def sent_at_of(message: bytes) -> float | None:
    """Return when a message in a queue was sent (Unix time), or None: beat's messages do not say, nor malformed ones.

    Anybody with access to Redis can push a message. A malformed one must not fail the request or scrape that reads it.
    """
    try:
        envelope = msgspec.json.decode(message, type=_QueuedMessage).headers.envelope
    except ValueError:  # msgspec's errors, and UnicodeDecodeError
        return None
    return envelope.sent_at if envelope else None


def _celery_message(task: str, task_id: str, queue: str, message: Mapping[str, Any], envelope: Envelope) -> bytes:
    """Encode a message of Celery's protocol 2 as kombu's Redis transport stores it.

    A test compares it with the message of ``apply_async``.
    """
    expires_at = envelope.expires_at
    headers = {
        "lang": "py",
        "task": task,
        "id": task_id,
        "root_id": task_id,
        "parent_id": None,
        "group": None,
        "retries": 0,
        "eta": None,
        "expires": datetime.fromtimestamp(expires_at, UTC).isoformat() if expires_at else None,
        "timelimit": [None, None],
        "argsrepr": "()",
        "kwargsrepr": "{}",  # hide the message from Flower and logs: it may contain personal data
        "origin": _ORIGIN,
        "ignore_result": True,
        "envelope": envelope,
    }
    body = msgspec.json.encode([[], message, _NO_CALLBACKS])
    return msgspec.json.encode(
        {
            "body": base64.b64encode(body).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": headers,
            "properties": {
                "correlation_id": task_id,
                "reply_to": "",
                "delivery_mode": 2,
                # No exchange: kombu restores such a message without its binding table, which a FLUSHALL deletes.
                "delivery_info": {"exchange": "", "routing_key": queue},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": str(uuid4()),
            },
        }
    )


@signals.setup_logging.connect
def _log_as_ecs(**_: object) -> None:
    log.configure(f"worker-{settings.SERVICE}" if settings.SERVICE in settings.SERVICES else "beat")
    logging.getLogger("celery").setLevel(logging.INFO)
    for of_each_task in ("celery.worker.strategy", "celery.app.trace", "celery.beat"):
        logging.getLogger(of_each_task).setLevel(logging.WARNING)  # the runtime logs each task once, with its trace


@signals.beat_init.connect
def _end_by_the_loop(sender: Service, **_: object) -> None:
    """Make SIGTERM and SIGINT stop beat's loop.

    Celery's own handler only raises SystemExit, which is lost if it is raised within a destructor.
    """

    def end(*_: object) -> None:
        sender.stop()
        raise SystemExit

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)


@signals.worker_init.connect
@signals.beat_init.connect
def _refuse_unsafe_production(**_: object) -> None:
    settings.refuse_unsafe_production()
