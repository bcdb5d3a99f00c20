"""RPC client of the command line: execute a task in a worker and wait for its reply."""

import time
from typing import Any
from uuid import uuid4

import msgspec
from redis.exceptions import RedisError

import celery_app
from models.errors import DomainError, OutcomeUnknown
from models.redis import queue_redis

PATIENCE_SECONDS = 30
_BLOCK_SECONDS = 1  # well below the client's socket timeout


class WorkerFailed(Exception):
    """The task crashed or was refused as poison. ``args[0]`` is the reason; the worker has logged the details."""


def ask(task: str, message: dict[str, Any], **envelope: Any) -> Any:
    """Execute ``task`` in a worker and return its result.

    Raises the task's DomainError, OutcomeUnknown after PATIENCE_SECONDS or if Redis fails, and WorkerFailed.
    """
    reply_to = f"reply:{uuid4()}"
    expires_at = time.time() + PATIENCE_SECONDS
    celery_app.send(task, message, celery_app.Envelope(reply_to=reply_to, expires_at=expires_at, **envelope))
    popped: Any = None
    try:
        while popped is None and time.time() < expires_at:
            popped = queue_redis().blpop([reply_to], timeout=_BLOCK_SECONDS)
    except RedisError as error:
        raise OutcomeUnknown from error
    if popped is None:
        raise OutcomeUnknown
    try:
        reply = msgspec.json.decode(popped[1], type=dict[str, Any])
    except ValueError as error:  # msgspec's errors, and UnicodeDecodeError
        raise OutcomeUnknown from error
    if refusal := reply.get("error"):
        raise DomainError.from_wire(refusal)
    if "result" not in reply:
        raise WorkerFailed(reply.get("crash") or "it was refused as poison")
    return reply["result"]
