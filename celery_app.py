"""The one Celery application, and the one way to send it a message.

A task ``<service>.<verb>`` rides the queue ``<service>``. Nothing here is ever the only holder of a promise: losing
what waits in Redis costs a repeat, never a purchase (docs/decisions/0002).
"""

import base64
import logging
import math
import os
import pkgutil
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
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

# A service is a module or a package of workers/; what serves them all is named here or begins with an underscore.
SERVICES = tuple(
    module.name
    for module in pkgutil.iter_modules([str(Path(__file__).parent / "workers")])
    if module.name != "resources" and not module.name.startswith("_")
)


def queue_of(name: str, *_: object, **__: object) -> dict[str, str]:
    """The queue of a task is the service in its name."""
    return {"queue": name.partition(".")[0]}


# A worker's own alone: six times all of them would be twice the start and a third more memory. Beat and tests have all.
LOADED = (settings.SERVICE,) if settings.SERVICE in SERVICES else SERVICES

celery_app = Celery("coursebus", broker=without_tls_options(settings.REDIS_URL))
celery_app.conf.update(
    include=[f"workers.{service}" for service in LOADED],  # discovered by their file names, loaded by workers alone
    task_routes=(queue_of,),
    task_queues=[Queue(service, Exchange(service), routing_key=service) for service in SERVICES],
    task_create_missing_queues=False,  # a typo would be a list that nobody reads
    task_ignore_result=True,  # the reply goes to a list of its own, after the commit
    task_acks_late=True,  # a killed worker's task is run again …
    task_reject_on_worker_lost=True,  # … a killed child's too
    task_acks_on_failure_or_timeout=True,  # a failure is answered, and repeated by whoever holds the promise
    worker_prefetch_multiplier=1,  # prefetched work waits a whole visibility timeout after a kill
    worker_send_task_events=True,  # Flower shows them
    worker_consumer="workers._consumer:Consumer",
    worker_hijack_root_logger=False,  # our ECS lines stay
    worker_redirect_stdouts=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,  # they commit in PostgreSQL; the inbox stops a twin
    broker_transport="models.broker:Transport",  # in place of the URL's scheme, which would switch TLS on …
    broker_use_ssl=tls_options(settings.REDIS_URL) or None,  # … and so this does
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,  # Redis may be away for longer than a hundred tries
    broker_transport_options={
        # The default hands a killed worker's message out again after an hour.
        "visibility_timeout": settings.VISIBILITY_TIMEOUT_SECONDS,
        "unacked_restore_interval": 5,  # with the throttle below: looked for every 5 s, by default every 100 s
        "unacked_restore_throttle": 1,
        # With shared keys the shortest visibility timeout of all workers would win.
        "unacked_key": f"unacked:{settings.SERVICE}",
        "unacked_index_key": f"unacked_index:{settings.SERVICE}",
        "unacked_mutex_key": f"unacked_mutex:{settings.SERVICE}",
        # Who dies while looking leaves the mutex behind, and nobody looks until it ends: by default after 300 s.
        "unacked_mutex_expire": 2,
        "socket_timeout": 10,  # a publish could hang for ever
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "health_check_interval": 10,  # finds a half-open connection
        "priority_steps": [0],  # one list a queue
    },
    beat_schedule={},  # filled by @job
    beat_scheduler="celery.beat:Scheduler",  # no file to corrupt: the jobs table knows what has run
    beat_max_loop_interval=5,  # a beat that lost Redis looks again soon
)


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """What travels beside a message. Times are seconds since 1970, UTC.

    Sender and reader may be of different versions: a reader ignores fields that it does not know, and a new field has a
    default.
    """

    sent_at: float = field(default_factory=time.time)
    expires_at: float | None = None  # nobody waits any more: not to be begun after it
    reply_to: str | None = None  # a Redis list
    request_id: str | None = None
    traceparent: str | None = None
    causation_id: str | None = None  # the event or command that asked for this task, where it is not ``event_id``
    actor: str | None = None  # the member of staff or the program that the command comes from: user:<id>, client:<id>
    claim: dict[str, Any] | None = None  # models.idempotency.Claim
    event_id: str | None = None  # of the event that starts this task
    event_headers: dict[str, str] | None = None  # its CloudEvents attributes, as they stand on Kafka
    attempt: int = 1  # above 1: the event was sent before without a good end

    @property
    def event_version(self) -> int | None:
        """The version of the event's aggregate (``ce_sequence``); None where no event started the task."""
        sequence = (self.event_headers or {}).get("ce_sequence")
        return int(sequence) if sequence else None


# One round trip: the length and the push cannot be parted by another sender. A full queue shows its oldest message.
_PUSH_BELOW_LIMIT = queue_redis().register_script("""
    if redis.call('LLEN', KEYS[1]) >= tonumber(ARGV[2]) then return redis.call('LINDEX', KEYS[1], -1) end
    return redis.call('LPUSH', KEYS[1], ARGV[1])
""")
_LONGEST_RETRY_AFTER_SECONDS = 60  # a queue that stands still may move again at any time
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
    """Push ``message`` for ``task``; returns the task id. Costs a quarter of ``apply_async``.

    Raises QueueFull where ``limit`` messages wait already, Unavailable where Redis does not answer.
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
    """With an honest Retry-After: a message that came now would wait about as long as the oldest one has waited."""
    envelope = msgspec.json.decode(oldest)["headers"].get("envelope")  # beat's own messages have none
    error = QueueFull(queue)
    if envelope:
        waited_seconds = math.ceil(time.time() - envelope["sent_at"])
        error.retry_after_seconds = min(max(waited_seconds, 1), _LONGEST_RETRY_AFTER_SECONDS)
    return error


def _celery_message(task: str, task_id: str, queue: str, message: Mapping[str, Any], envelope: Envelope) -> bytes:
    """Celery's protocol 2 as kombu's Redis transport stores it; a test compares it with ``apply_async``'s own."""
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
        "kwargsrepr": "{}",  # Flower and the logs show no message: it may hold personal data
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
                # No exchange: a message is put back without the table of bindings, which a FLUSHALL takes along.
                "delivery_info": {"exchange": "", "routing_key": queue},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": str(uuid4()),
            },
        }
    )


@signals.setup_logging.connect
def _log_as_ecs(**_: object) -> None:
    log.configure(f"worker-{settings.SERVICE}" if settings.SERVICE in SERVICES else "beat")
    logging.getLogger("celery").setLevel(logging.INFO)
    for of_each_task in ("celery.worker.strategy", "celery.app.trace", "celery.beat"):
        logging.getLogger(of_each_task).setLevel(logging.WARNING)  # the delivery says it once, with its trace


@signals.beat_init.connect
def _end_by_the_loop(sender: Service, **_: object) -> None:
    """Have a SIGTERM end the loop too: Celery's own handler raises, and within a destructor that is lost."""

    def end(*_: object) -> None:
        sender.stop()
        raise SystemExit

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)


@signals.worker_init.connect
@signals.beat_init.connect
def _refuse_unsafe_production(**_: object) -> None:
    settings.refuse_unsafe_production()
