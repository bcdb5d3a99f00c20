"""Several questions at once: one thread asks several services, and waits no longer than the slowest one takes."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, cast

import msgspec
from redis.exceptions import RedisError

from models.errors import DomainError, OutcomeUnknown
from models.redis import queue_redis

from .bulkheads import bulkheads
from .queue import WorkerCrashed, opened, send_question

Question = tuple[str, dict[str, Any]]  # a task that changes nothing, and its message


def gather(questions: Mapping[str, Question], *, within_seconds: float) -> tuple[dict[str, Any], dict[str, Exception]]:
    """The answers to ``questions`` by their names, and why there is none to the others."""
    expires_at = time.time() + within_seconds
    answers: dict[str, Any] = {}
    failures: dict[str, Exception] = {}
    waiting: dict[str, str] = {}  # the name of each question, by the list of its reply
    with ExitStack() as slots:
        for name, (task, message) in questions.items():
            try:
                slots.enter_context(bulkheads.slot(task.partition(".")[0]))
                waiting[send_question(task, message, expires_at=expires_at)] = name
            except DomainError as error:
                failures[name] = error
        while waiting and (popped := _next_reply(list(waiting), expires_at)):
            reply_to, reply = popped
            name = waiting.pop(reply_to)
            try:
                answers[name] = opened(reply)
            except (DomainError, WorkerCrashed) as error:
                failures[name] = error
    return answers, failures | {name: OutcomeUnknown() for name in waiting.values()}


def _next_reply(lists: list[str], expires_at: float) -> tuple[str, dict[str, Any]] | None:
    """The first reply to come, and its list; None when the time is over."""
    try:
        popped = queue_redis().blpop(lists, timeout=max(expires_at - time.time(), 0.01))
    except RedisError:
        return None
    if popped is None:
        return None
    reply_to, reply = cast("tuple[bytes, bytes]", popped)
    return reply_to.decode(), msgspec.json.decode(reply)
