"""RPC over the task queues: send a task to a worker and wait for its reply."""

import time
from typing import Any

import msgspec
from redis.exceptions import RedisError

from core.commands import Command
from core.errors import DomainError, OutcomeUnknown
from core.redis import queue_redis
from core.redis_commands import read

from . import task_queue

TIMEOUT_SECONDS = 30
_BLOCK_SECONDS = 1  # how long one BLPOP waits; well below the client's socket timeout


class TaskCrashed(Exception):
    """A task failed with an unexpected exception or was rejected as poison. The worker has logged it."""


def send_request(task: str, message: dict[str, Any] | Command, *, expires_at: float, **envelope: Any) -> str:
    """Send a message to ``task``, which is not started after ``expires_at``. Returns the key of the reply list."""
    task_id = task_queue.new_task_id()
    reply_to = f"reply:{task_id}"
    sent = task_queue.Envelope(reply_to=reply_to, expires_at=expires_at, **envelope)
    task_queue.enqueue(task, message, sent, task_id=task_id)
    return reply_to


def wait_for_reply(reply_to: str, expires_at: float) -> dict[str, Any]:
    """Return the reply. Raises OutcomeUnknown without one at ``expires_at``, or if Redis fails."""
    popped: Any = None
    try:
        while popped is None and (left := expires_at - time.time()) > 0:
            popped = read(queue_redis(), "BLPOP", reply_to, max(min(left, _BLOCK_SECONDS), 0.01))
    except RedisError as error:
        raise OutcomeUnknown from error
    if popped is None:
        raise OutcomeUnknown
    return decode_reply(popped[1])


def decode_reply(reply: bytes) -> dict[str, Any]:
    """Return the content of a reply. Raises OutcomeUnknown if it is malformed."""
    try:
        content: dict[str, Any] = msgspec.json.decode(reply, type=dict[str, Any])
    except ValueError as error:  # msgspec's errors, and UnicodeDecodeError
        raise OutcomeUnknown from error
    return content


def unwrap_reply(reply: dict[str, Any]) -> Any:
    """Return the result in a reply. Raises the worker's DomainError, or TaskCrashed for a crash or a malformed reply.

    The caller must have imported ``models.errors``, which registers the errors of all services.
    """
    if "result" in reply:
        return reply["result"]
    error = reply.get("error")
    if isinstance(error, dict):
        raise DomainError.from_wire(error)
    raise TaskCrashed(reply.get("crash") or f"a reply without a result: {sorted(reply)}")


def call(command: Command) -> Any:
    """Execute ``command`` in a worker and return its result. Raises like ``call_task``."""
    return call_task(command.task, command)


def call_task(
    task: str, message: dict[str, Any] | Command, *, timeout_seconds: float = TIMEOUT_SECONDS, **envelope: Any
) -> Any:
    """Execute ``task`` in a worker and return its result.

    Raises the task's DomainError, OutcomeUnknown after ``timeout_seconds`` or if Redis fails, and TaskCrashed.
    """
    expires_at = time.time() + timeout_seconds
    return unwrap_reply(wait_for_reply(send_request(task, message, expires_at=expires_at, **envelope), expires_at))
