"""Whether a message that was sent and not answered still exists, asked of Redis for all services at once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from models.redis import queue_redis

CLOCKS_DIFFER_SECONDS = 5.0  # between the hosts that send to one queue


@dataclass(frozen=True)
class Queue:
    """What is known of one queue at one moment."""

    is_empty: bool
    oldest_sent_at: float | None  # seconds since 1970; None where the message does not say
    held: frozenset[str]  # ids of the tasks whose message a worker has taken and not acknowledged

    def has_passed(self, sent_at: float) -> bool:
        """Whether a message that was sent then is no longer in the queue.

        A queue is first in, first out: a message that is older than the oldest one there was taken out of it.
        """
        if self.is_empty:
            return True
        return self.oldest_sent_at is not None and self.oldest_sent_at > sent_at + CLOCKS_DIFFER_SECONDS


def look_at_queues(services: Iterable[str]) -> Mapping[str, Queue]:
    """Return the queue of each of ``services``, by one round trip. Raises RedisError."""
    names = list(services)
    with queue_redis().pipeline(transaction=False) as pipeline:
        for service in names:
            pipeline.lindex(service, -1)
            pipeline.hvals(f"unacked:{service}")  # a few at most: workers prefetch one message a thread
        answers: list[Any] = pipeline.execute()
    return {
        service: Queue(oldest is None, _sent_at(oldest), frozenset(map(_held_task, held)))
        for service, oldest, held in zip(names, answers[::2], answers[1::2], strict=True)
    }


def _sent_at(message: bytes | None) -> float | None:
    if message is None:
        return None
    sent_at = _headers(message).get("envelope", {}).get("sent_at")  # beat's messages have no envelope
    return sent_at if isinstance(sent_at, float | int) else None


def _held_task(unacked: bytes) -> str:
    """Return the task id of what kombu notes of a message: [message, exchange, routing key]."""
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
