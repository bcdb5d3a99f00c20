"""Messages on the task queues: the envelope, and the only function that sends them.

A task ``<service>.<verb>`` is sent to the queue ``<service>``. Redis is never the only place of a commitment: if it
loses messages, they are sent again, and no purchase is lost (docs/decisions/0002).
"""

import base64
import math
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import msgspec
from redis.exceptions import RedisError

import settings
from core.commands import Command
from core.errors import QueueFull, Unavailable
from core.fault_injection import crash_point
from core.redis import queue_redis
from core.redis_commands import run_script


def route_task(name: str, *_: object, **__: object) -> dict[str, str]:
    """Route a task to the queue of the service in its name."""
    return {"queue": name.partition(".")[0]}


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
    is_recorded_read: bool = False  # the actor reads personal data of another person and changes nothing
    idempotency_claim: dict[str, Any] | None = None  # core.bus.idempotency.Claim
    event_id: str | None = None  # of the event that started this task
    event_headers: dict[str, str] | None = None  # its CloudEvents attributes, as stored on Kafka
    attempt: int = 1  # above 1: an earlier attempt with this event failed or was lost

    @property
    def event_version(self) -> int | None:
        """Return the version of the event's aggregate (``ce_sequence``); None if no event started the task."""
        sequence = (self.event_headers or {}).get("ce_sequence")
        return int(sequence) if sequence else None


# A script, so that check and push are atomic and cost one round trip. Returns the oldest message if the queue is full.
_PUSH_IF_BELOW_LIMIT = queue_redis().register_script("""
    if redis.call('LLEN', KEYS[1]) >= tonumber(ARGV[2]) then return redis.call('LINDEX', KEYS[1], -1) end
    return redis.call('LPUSH', KEYS[1], ARGV[1])
""")
_MAX_RETRY_AFTER_SECONDS = 60  # upper bound, because a stalled queue may recover at any time
_ORIGIN = f"{os.getpid()}@{socket.gethostname()}"
_NO_CALLBACKS = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def new_task_id() -> str:
    return str(uuid4())


def enqueue(
    task: str,
    message: Mapping[str, Any] | Command,
    envelope: Envelope,
    *,
    task_id: str | None = None,
    limit: int = settings.QUEUE_LIMIT,
) -> str:
    """Push ``message`` to the queue of ``task``; return the task id. Takes a quarter of the time of ``apply_async``.

    Raises QueueFull if ``limit`` messages are in the queue, Unavailable if Redis does not answer.
    """
    task_id = task_id or new_task_id()
    queue = route_task(task)["queue"]
    crash_point("before the push", task)
    try:
        content = _celery_message(task, task_id, queue, message, envelope)
        pushed = run_script(_PUSH_IF_BELOW_LIMIT, [queue], [content, limit], once=True)
    except RedisError as error:
        raise Unavailable("The queue") from error
    if isinstance(pushed, bytes):
        raise _queue_full(queue, oldest=pushed)
    crash_point("after the push", task)
    return task_id


def count_waiting(queue: str) -> int:
    """Return how many messages are in a queue. Raises Unavailable if Redis does not answer."""
    try:
        return int(queue_redis().llen(queue))
    except RedisError as error:
        raise Unavailable("The queue") from error


def _queue_full(queue: str, *, oldest: bytes) -> QueueFull:
    """Return QueueFull with Retry-After set to the age of the oldest message, which estimates the waiting time."""
    error = QueueFull(queue)
    if sent_at := sent_at_of(oldest):
        waited_seconds = math.ceil(time.time() - sent_at)
        error.retry_after_seconds = min(max(waited_seconds, 1), _MAX_RETRY_AFTER_SECONDS)
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


def _celery_message(
    task: str, task_id: str, queue: str, message: Mapping[str, Any] | Command, envelope: Envelope
) -> bytes:
    """Encode a message of Celery's protocol 2 as kombu's Redis transport stores it.

    A test compares it with the message of ``apply_async``.
    """
    headers = {
        "lang": "py",
        "task": task,
        "id": task_id,
        "root_id": task_id,
        "parent_id": None,
        "group": None,
        "retries": 0,
        "eta": None,
        "expires": None,  # the deadline is in the envelope; Celery would parse this slowly
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
