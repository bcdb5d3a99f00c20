"""One question to a worker, for the command line: it waits for the answer."""

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
    """A bug in a worker, which has logged it. ``args[0]`` is what it said."""


def ask(task: str, message: dict[str, Any], **envelope: Any) -> Any:
    """Have ``task`` done; returns its result. Raises DomainError as the worker did, OutcomeUnknown, WorkerFailed."""
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
    reply = msgspec.json.decode(popped[1])
    if refusal := reply.get("error"):
        raise DomainError.from_wire(refusal)
    if "result" not in reply:
        raise WorkerFailed(reply.get("crash") or "it was refused as poison")
    return reply["result"]
