"""Concurrent queries: one thread sends queries to several services and waits for all replies at once."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple, cast

import msgspec
from redis.exceptions import RedisError

from models.errors import DomainError, OutcomeUnknown
from models.redis import queue_redis

from .bulkheads import bulkheads
from .queue import WorkerCrashed, decoded, opened, send_question


class Question(NamedTuple):
    """A query: the name of a read-only task, its message, and the type of its result."""

    task: str
    message: dict[str, Any]
    type: Any = dict[str, Any]

    def result_in(self, reply: bytes) -> Any:
        """Return the result in a reply. Raises DomainError or WorkerCrashed, also for a malformed reply."""
        try:
            return msgspec.convert(opened(decoded(reply)), self.type)
        except msgspec.ValidationError as error:
            raise WorkerCrashed(f"a result of another type: {error}") from error


def gather_all(questions: Mapping[str, Question], *, within_seconds: float) -> dict[str, Any]:
    """Return the results of ``questions`` by name and in their order. Raises the first failure."""
    answers, failures = gather(questions, within_seconds=within_seconds)
    for failure in failures.values():
        raise failure
    return {name: answers[name] for name in questions}


def gather(questions: Mapping[str, Question], *, within_seconds: float) -> tuple[dict[str, Any], dict[str, Exception]]:
    """Return the results and the failures of ``questions``, both by name.

    A query without a reply after ``within_seconds`` fails with OutcomeUnknown. A failed query does not stop the others.
    """
    expires_at = time.time() + within_seconds
    answers: dict[str, Any] = {}
    failures: dict[str, Exception] = {}
    waiting: dict[str, str] = {}  # reply list → name of the query
    with ExitStack() as slots:
        for name, question in questions.items():
            try:
                slots.enter_context(bulkheads.slot(question.task.partition(".")[0]))
                waiting[send_question(question.task, question.message, expires_at=expires_at)] = name
            except DomainError as error:
                failures[name] = error
        while waiting and (popped := _next_reply(list(waiting), expires_at)):
            reply_to, reply = popped
            name = waiting.pop(reply_to)
            try:
                answers[name] = questions[name].result_in(reply)
            except (DomainError, WorkerCrashed) as error:
                failures[name] = error
    return answers, failures | {name: OutcomeUnknown() for name in waiting.values()}


def _next_reply(lists: list[str], expires_at: float) -> tuple[str, bytes] | None:
    """Wait for the first reply; return its list and the reply, or None after ``expires_at`` or if Redis is down."""
    try:
        popped = queue_redis().blpop(lists, timeout=max(expires_at - time.time(), 0.01))
    except RedisError:
        return None
    if popped is None:
        return None
    reply_to, reply = cast("tuple[bytes, bytes]", popped)
    return reply_to.decode(), reply
