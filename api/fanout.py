"""Concurrent queries: one thread sends queries to several services and waits for all replies at once."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple, cast

import msgspec
from redis.exceptions import RedisError

from core.commands import Command
from core.messaging.rpc import TaskCrashed, decode_reply
from core.redis import queue_redis
from models.errors import DomainError, OutcomeUnknown

from .bulkheads import bulkheads
from .rpc import send_request, unwrap_reply

_PATIENCE_SECONDS = 0.25  # for a slot of one service, while the replies of the others may be there already


class Call(NamedTuple):
    """A query: a command that changes nothing, and the type of its result."""

    command: Command
    type: Any = dict[str, Any]

    def decode_result(self, reply: bytes) -> Any:
        """Return the result in a reply. Raises DomainError or TaskCrashed, also for a malformed reply."""
        try:
            return msgspec.convert(unwrap_reply(decode_reply(reply)), self.type)
        except msgspec.ValidationError as error:
            raise TaskCrashed(f"a result of another type: {error}") from error


def gather_all(calls: Mapping[str, Call], *, timeout_seconds: float) -> dict[str, Any]:
    """Return the results of ``calls`` by name and in their order. Raises the first failure."""
    results, failures = gather(calls, timeout_seconds=timeout_seconds)
    for failure in failures.values():
        raise failure
    return {name: results[name] for name in calls}


def gather(calls: Mapping[str, Call], *, timeout_seconds: float) -> tuple[dict[str, Any], dict[str, Exception]]:
    """Return the results and the failures of ``calls``, both by name.

    A query without a reply after ``timeout_seconds`` fails with OutcomeUnknown. A failed query does not stop others.
    """
    expires_at = time.time() + timeout_seconds
    results: dict[str, Any] = {}
    failures: dict[str, Exception] = {}
    pending: dict[str, str] = {}  # reply list → name of the query
    with ExitStack() as slots:
        for name, call in calls.items():
            service = call.command.task.partition(".")[0]
            try:
                slots.enter_context(bulkheads.slot(service, patience_seconds=_PATIENCE_SECONDS))
                pending[send_request(call.command, expires_at=expires_at)] = name
            except DomainError as error:
                failures[name] = error
        while pending and (popped := _next_reply(list(pending), expires_at)):
            reply_to, reply = popped
            name = pending.pop(reply_to)
            try:
                results[name] = calls[name].decode_result(reply)
            except (DomainError, TaskCrashed) as error:
                failures[name] = error
    return results, failures | {name: OutcomeUnknown() for name in pending.values()}


def _next_reply(reply_lists: list[str], expires_at: float) -> tuple[str, bytes] | None:
    """Wait for the first reply; return its list and the reply, or None after ``expires_at`` or if Redis is down."""
    try:
        popped = queue_redis().blpop(reply_lists, timeout=max(expires_at - time.time(), 0.01))
    except RedisError:
        return None
    if popped is None:
        return None
    reply_to, reply = cast("tuple[bytes, bytes]", popped)
    return reply_to.decode(), reply
