"""Find out whether sent and unanswered messages still exist in Redis, for all services in one round trip."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from core.redis import queue_redis

MAX_CLOCK_SKEW_SECONDS = 5.0  # maximum clock skew between the hosts that send to one queue


@dataclass(frozen=True)
class QueueSnapshot:
    """A snapshot of one queue."""

    is_empty: bool
    oldest_sent_at: float | None  # seconds since 1970; None if the message has no envelope
    held: frozenset[str]  # ids of the tasks whose message a worker has taken and not acknowledged

    def has_passed(self, sent_at: float) -> bool:
        """Return whether a message sent at ``sent_at`` is no longer in the queue.

        A queue is first in, first out: a message older than its oldest one has been taken.
        """
        if self.is_empty:
            return True
        return self.oldest_sent_at is not None and self.oldest_sent_at > sent_at + MAX_CLOCK_SKEW_SECONDS


def inspect_queues(services: Iterable[str]) -> Mapping[str, QueueSnapshot]:
    """Return a snapshot of the queue of each service, by one round trip. Raises RedisError."""
    names = list(services)
    with queue_redis().pipeline(transaction=False) as pipeline:
        for service in names:
            pipeline.lindex(service, -1)
            pipeline.hvals(f"unacked:{service}")  # small: workers prefetch one message per thread
        answers: list[Any] = pipeline.execute()
    return {
        service: QueueSnapshot(oldest is None, _sent_at(oldest), frozenset(map(_held_task, held)))
        for service, oldest, held in zip(names, answers[::2], answers[1::2], strict=True)
    }


def _sent_at(message: bytes | None) -> float | None:
    if message is None:
        return None
    sent_at = _headers(message).get("envelope", {}).get("sent_at")  # messages from Celery beat have no envelope
    return sent_at if isinstance(sent_at, float | int) else None


def _held_task(unacked: bytes) -> str:
    """Return the task id of an entry in kombu's unacked hash: [message, exchange, routing key]."""
    try:
        return str(msgspec.json.decode(unacked)[0]["headers"]["id"])
    except (msgspec.DecodeError, LookupError, TypeError):
        return ""


def _headers(message: bytes) -> dict[str, Any]:
    try:
        headers = msgspec.json.decode(message)["headers"]
    except (msgspec.DecodeError, LookupError, TypeError):
        return {}
    return headers if isinstance(headers, dict) else {}
