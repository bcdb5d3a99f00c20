"""From the gateway to the workers: ``ask`` waits for the answer."""

import time
from typing import Any

import msgspec
from flask import g
from redis.exceptions import RedisError

import celery_app
import settings
from models.errors import DomainError, OutcomeUnknown
from models.redis import queue_redis


class WorkerCrashed(Exception):
    """A bug in a worker; it is in the worker's log under the same request id."""


def ask(task: str, **message: Any) -> Any:
    """Have ``task`` done and return its answer, as JSON values.

    A repeated command answers as it did the first time; ``g.replayed`` says so. Raises what the worker raised as
    a DomainError, QueueFull or Unavailable where nothing was begun, OutcomeUnknown after ASK_TIMEOUT_SECONDS.
    """
    return _ask(task, message, claim=g.get("claim"))


def look_up(task: str, **message: Any) -> Any:
    """``ask`` for what a request needs before its own command: the Idempotency-Key is not for this."""
    return _ask(task, message, claim=None)


def _ask(task: str, message: dict[str, Any], claim: dict[str, str] | None) -> Any:
    expires_at = time.time() + settings.ASK_TIMEOUT_SECONDS
    task_id = celery_app.new_task_id()
    reply_to = f"reply:{task_id}"
    envelope = celery_app.Envelope(
        expires_at=expires_at,
        reply_to=reply_to,
        request_id=g.get("request_id"),
        traceparent=g.get("traceparent"),
        claim=claim,
    )
    celery_app.send(task, message, envelope, task_id=task_id)
    return _opened(_awaited(reply_to, expires_at))


def _awaited(reply_to: str, expires_at: float) -> dict[str, Any]:
    try:
        popped = queue_redis().blpop([reply_to], timeout=max(expires_at - time.time(), 0.01))
    except RedisError as error:
        raise OutcomeUnknown from error
    if popped is None:
        raise OutcomeUnknown
    reply: dict[str, Any] = msgspec.json.decode(popped[1])
    return reply


def _opened(reply: dict[str, Any]) -> Any:
    g.replayed = reply.get("replayed", False)
    if error := reply.get("error"):
        raise DomainError.by_name[error["name"]](*error["args"])
    if crash := reply.get("crash"):
        raise WorkerCrashed(crash)
    return reply["result"]
