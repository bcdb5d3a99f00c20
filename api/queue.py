"""RPC from the gateway to the workers: ``ask`` waits for the reply, ``tell`` responds with 202 and an operation."""

import time
from typing import Any, NoReturn, cast

import msgspec
from flask import g
from redis.exceptions import RedisError

import celery_app
import settings
from models.errors import DomainError, OutcomeUnknown
from models.faults import reach
from models.redis import queue_redis

from .bulkheads import WEBHOOKS, bulkheads
from .headers import is_command, prefers_async


class WorkerCrashed(Exception):
    """A task failed with an unexpected exception, which the worker logs with the same request id."""


class Accepted(Exception):
    """Raised to respond with 202: ``args[0]`` is the operation that executes the command."""


def ask(task: str, **message: Any) -> Any:
    """Send ``task`` to its service and return its result, as JSON values.

    A command repeated with its idempotency key returns the first result and sets ``g.replayed``.

    Raises the worker's DomainError; QueueFull, ServiceSlow or Unavailable if the task was not started; OutcomeUnknown
    without a reply after ASK_TIMEOUT_SECONDS (reads: READ_TIMEOUT_SECONDS); Accepted if the client prefers 202.
    """
    claim = g.get("claim")
    if prefers_async() and "caller" in g:
        raise Accepted(_accept(task, message, claim))
    return _ask(task, message, claim, actor=g.get("actor") if is_command() else None)


def tell(task: str, **message: Any) -> NoReturn:
    """Start an asynchronous command: ``task`` returns its operation, and the response is a 202. Raises Accepted."""
    raise Accepted(_ask(task, message, claim=g.get("claim"), actor=g.get("actor")))


def look_up(task: str, **message: Any) -> Any:
    """Like ``ask``, for a lookup besides the command of a request: does not use the Idempotency-Key or Prefer."""
    return _ask(task, message, claim=None)


def ask_for_webhook(task: str, **message: Any) -> Any:
    """Like ``look_up``, with the bulkhead of webhooks, so that webhooks cannot delay the requests of clients."""
    return _ask(task, message, claim=None, bulkhead=WEBHOOKS)


def _accept(task: str, message: dict[str, Any], claim: dict[str, str] | None) -> dict[str, Any]:
    # The idempotency key is claimed twice: here, so that a repetition returns the same operation, and by the command,
    # so that a repetition without Prefer returns the command's result.
    claim_of_operation = claim and {**claim, "scope": f"respond-async {claim['scope']}"}
    asked = {"kind": task, "message": message, "owner": g.caller.sub, "claim": claim}
    operation: dict[str, Any] = _ask(
        f"{task.partition('.')[0]}.accept_operation", asked, claim_of_operation, actor=g.get("actor")
    )
    return operation


def _ask(
    task: str,
    message: dict[str, Any],
    claim: dict[str, str] | None,
    *,
    bulkhead: str | None = None,
    actor: str | None = None,
) -> Any:
    expires_at = time.time() + (settings.ASK_TIMEOUT_SECONDS if is_command() else settings.READ_TIMEOUT_SECONDS)
    with bulkheads.slot(bulkhead or task.partition(".")[0]):
        reply_to = send_question(task, message, expires_at=expires_at, claim=claim, actor=actor)
        reply = _awaited(reply_to, expires_at)
    reach("answered", task)
    return opened(reply)


def send_question(
    task: str,
    message: dict[str, Any],
    *,
    expires_at: float,
    claim: dict[str, str] | None = None,
    actor: str | None = None,
) -> str:
    """Send a message to ``task``, which is not started after ``expires_at``. Returns the key of the reply list."""
    task_id = celery_app.new_task_id()
    reply_to = f"reply:{task_id}"
    envelope = celery_app.Envelope(
        expires_at=expires_at,
        reply_to=reply_to,
        request_id=g.get("request_id"),
        traceparent=g.get("traceparent"),
        claim=claim,
        actor=actor,
    )
    celery_app.send(task, message, envelope, task_id=task_id)
    return reply_to


def _awaited(reply_to: str, expires_at: float) -> dict[str, Any]:
    try:
        popped = queue_redis().blpop([reply_to], timeout=max(expires_at - time.time(), 0.01))
    except RedisError as error:
        raise OutcomeUnknown from error
    if popped is None:
        raise OutcomeUnknown
    return decoded(cast("bytes", popped[1]))


def decoded(reply: bytes) -> dict[str, Any]:
    """Return the content of a reply. Raises OutcomeUnknown if it is malformed."""
    try:
        content: dict[str, Any] = msgspec.json.decode(reply, type=dict[str, Any])
    except ValueError as error:  # msgspec's errors, and UnicodeDecodeError
        raise OutcomeUnknown from error
    return content


def opened(reply: dict[str, Any]) -> Any:
    """Return the result in a reply, and set ``g.replayed``.

    Raises the worker's DomainError, or WorkerCrashed for a crash or a malformed reply.
    """
    g.replayed = bool(reply.get("replayed"))
    if "result" in reply:
        return reply["result"]
    error = reply.get("error")
    if isinstance(error, dict):
        raise DomainError.from_wire(error)
    raise WorkerCrashed(reply.get("crash") or f"a reply without a result: {sorted(reply)}")
