"""Calls from the gateway to the workers: ``call`` waits for the reply, ``call_async`` answers 202 with an operation."""

import time
from typing import Any, NoReturn

import msgspec
from flask import g

import settings
from core.commands import Command
from core.fault_injection import crash_point
from core.messaging import rpc
from models.commands import AcceptOperation

from .bulkheads import WEBHOOKS, bulkheads
from .request_context import is_command, prefers_async


class AcceptedAsync(Exception):
    """Raised to respond with 202: ``args[0]`` is the operation that executes the command."""


def call(command: Command) -> Any:
    """Send ``command`` to its service and return its result, as JSON values.

    A command repeated with its idempotency key returns the first result and sets ``g.replayed``.

    Raises the worker's DomainError; QueueFull, ServiceOverloaded or Unavailable if the task was not started;
    OutcomeUnknown without a reply after COMMAND_TIMEOUT_SECONDS (reads: READ_TIMEOUT_SECONDS); AcceptedAsync if the
    client prefers 202.
    """
    claim = g.get("claim")
    if prefers_async() and "caller" in g:
        raise AcceptedAsync(_accept_operation(command, claim))
    is_recorded = is_command() or g.get("is_recorded_read", False)
    return _call(command, claim, actor=g.get("actor") if is_recorded else None)


def call_async(command: Command) -> NoReturn:
    """Start an asynchronous command: its task returns the operation, and the response is a 202.

    Raises AcceptedAsync.
    """
    raise AcceptedAsync(_call(command, claim=g.get("claim"), actor=g.get("actor")))


def call_without_idempotency_key(command: Command) -> Any:
    """Like ``call``, for a lookup besides the command of a request: does not use the Idempotency-Key or Prefer."""
    return _call(command, claim=None)


def call_for_webhook(command: Command) -> Any:
    """Like ``call_without_idempotency_key``, with the bulkhead of webhooks, so that they do not delay clients."""
    return _call(command, claim=None, bulkhead=WEBHOOKS)


def _accept_operation(command: Command, claim: dict[str, str] | None) -> dict[str, Any]:
    # The idempotency key is claimed twice: here, so that a repetition returns the same operation, and by the command,
    # so that a repetition without Prefer returns the command's result.
    operation_claim = claim and {**claim, "scope": f"respond-async {claim['scope']}"}
    accept = AcceptOperation(
        service=command.task.partition(".")[0],
        kind=command.task,
        message=msgspec.to_builtins(command),
        owner=g.caller.sub,
        claim=claim,
    )
    operation: dict[str, Any] = _call(accept, operation_claim, actor=g.get("actor"))
    return operation


def _call(
    command: Command,
    claim: dict[str, str] | None,
    *,
    bulkhead: str | None = None,
    actor: str | None = None,
) -> Any:
    expires_at = time.time() + (settings.COMMAND_TIMEOUT_SECONDS if is_command() else settings.READ_TIMEOUT_SECONDS)
    with bulkheads.slot(bulkhead or command.task.partition(".")[0]):
        reply_to = send_request(command, expires_at=expires_at, claim=claim, actor=actor)
        reply = rpc.wait_for_reply(reply_to, expires_at)
    crash_point("answered", command.task)
    return unwrap_reply(reply)


def send_request(
    command: Command,
    *,
    expires_at: float,
    claim: dict[str, str] | None = None,
    actor: str | None = None,
) -> str:
    """Send a command with the ids of the present HTTP request. Returns the key of the reply list."""
    return rpc.send_request(
        command.task,
        command,
        expires_at=expires_at,
        request_id=g.get("request_id"),
        traceparent=g.get("traceparent"),
        idempotency_claim=claim,
        actor=actor,
        is_recorded_read=actor is not None and not is_command(),
    )


def unwrap_reply(reply: dict[str, Any]) -> Any:
    """Return the result in a reply, and set ``g.replayed``. Raises the worker's DomainError or TaskCrashed."""
    g.replayed = bool(reply.get("replayed"))
    return rpc.unwrap_reply(reply)
