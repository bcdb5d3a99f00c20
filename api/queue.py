"""From the gateway to the workers: ``ask`` waits for the answer, ``tell`` answers 202."""

import time
from typing import Any, NoReturn

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
    """A bug in a worker; it is in the worker's log under the same request id."""


class Accepted(Exception):
    """The client does not wait: ``args[0]`` is the operation that carries its command out."""


def ask(task: str, **message: Any) -> Any:
    """Have ``task`` done and return its answer, as JSON values.

    A repeated command answers as it did the first time; ``g.replayed`` says so. Raises what the worker raised as
    a DomainError, QueueFull, ServiceSlow or Unavailable where nothing was begun, OutcomeUnknown after
    ASK_TIMEOUT_SECONDS, of a read after READ_TIMEOUT_SECONDS, and Accepted where the client prefers that.
    """
    claim = g.get("claim")
    if prefers_async() and "caller" in g:
        raise Accepted(_accept(task, message, claim))
    return _ask(task, message, claim, actor=g.get("actor") if is_command() else None)


def tell(task: str, **message: Any) -> NoReturn:
    """Begin what nobody waits for: ``task`` answers with its operation, the client with 202. Raises Accepted."""
    raise Accepted(_ask(task, message, claim=g.get("claim"), actor=g.get("actor")))


def look_up(task: str, **message: Any) -> Any:
    """``ask`` for what a request needs before its own command: the Idempotency-Key is not for this."""
    return _ask(task, message, claim=None)


def ask_for_webhook(task: str, **message: Any) -> Any:
    """``ask`` for a webhook: the requests of buyers do not wait behind those of providers."""
    return _ask(task, message, claim=None, bulkhead=WEBHOOKS)


def _accept(task: str, message: dict[str, Any], claim: dict[str, str] | None) -> dict[str, Any]:
    # The key is claimed twice: here, so that a repeat gets the same operation, and by the command itself, so that a
    # repeat without the preference gets its answer.
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
    """Send ``task`` a message that is not begun after ``expires_at``; returns the list where the reply will be."""
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
    try:
        reply: dict[str, Any] = msgspec.json.decode(popped[1], type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise OutcomeUnknown from error
    return reply


def opened(reply: dict[str, Any]) -> Any:
    """The answer in a reply. Raises what the worker raised, and WorkerCrashed for a reply that has no known form."""
    g.replayed = bool(reply.get("replayed"))
    if "result" in reply:
        return reply["result"]
    error = reply.get("error")
    if isinstance(error, dict):
        raise DomainError.from_wire(error)
    raise WorkerCrashed(reply.get("crash") or f"a reply without a result: {sorted(reply)}")
