"""Delivery of a message to its task like a Celery worker, including claims, commits and reply."""

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import zip_longest
from typing import Any
from uuid import UUID, uuid4

import msgspec

import celery_app
from core.messaging import task_queue
from core.messaging.event_messages import HANDLE_EVENTS, Delivery, ReceivedEvent
from core.redis import queue_redis


def deliver(
    task: str,
    message: Mapping[str, Any] | None = None,
    *,
    event_id: UUID | str | None = None,
    event_headers: Mapping[str, str] | None = None,
    claim: Mapping[str, str] | None = None,
    attempt: int = 1,
    seconds_left: float | None = None,
) -> dict[str, Any]:
    """Execute ``message``; return the reply: {"task_id", "result" or "error" or "crash" or "poison", "replayed"}.

    An empty dict means that no reply was sent.
    """
    task_id, reply_to = str(uuid4()), f"reply:{uuid4()}"
    envelope = task_queue.Envelope(
        expires_at=None if seconds_left is None else time.time() + seconds_left,
        reply_to=reply_to,
        idempotency_claim=dict(claim) if claim else None,
        event_id=str(event_id) if event_id else None,
        event_headers=None if event_headers is None else dict(event_headers),
        attempt=attempt,
    )
    run_task(task, msgspec.json.decode(msgspec.json.encode(message or {})), envelope, task_id=task_id)
    reply = queue_redis().lpop(reply_to)
    return msgspec.json.decode(reply) if isinstance(reply, bytes) else {}


def deliver_together(
    service: str, events: Sequence[tuple[str, UUID | str, Any]], event_headers: Sequence[dict[str, str]] = ()
) -> list[dict[str, Any]]:
    """Execute one message with ``events`` (handler, event id, event); return the reply to each of them."""
    reply_to = f"reply:{uuid4()}"
    deliveries = [
        Delivery(
            handler=handler,
            task_id=str(uuid4()),
            event=event,
            envelope=task_queue.Envelope(reply_to=reply_to, event_id=str(event_id), event_headers=headers),
        )
        for (handler, event_id, event), headers in zip_longest(events, event_headers)
    ]
    message = msgspec.json.decode(msgspec.json.encode({"deliveries": deliveries}))
    run_task(f"{service}.{HANDLE_EVENTS}", message, task_queue.Envelope(reply_to=reply_to), task_id="message")
    sent: Any = queue_redis().lrange(reply_to, 0, -1)
    replies = {reply["task_id"]: reply for reply in map(msgspec.json.decode, sent)}
    return [replies[delivery.task_id] for delivery in deliveries]


def run_task(task: str, message: dict[str, Any], envelope: task_queue.Envelope, *, task_id: str) -> None:
    """Call the Celery task within a request, like a thread of the worker."""
    celery_app.celery_app.loader.import_default_modules()
    celery_task = celery_app.celery_app.tasks[task]
    celery_task.push_request(id=task_id, headers={"envelope": asdict(envelope)})
    try:
        celery_task.run(**message)
    finally:
        celery_task.pop_request()


def call_handler(handler: Callable[..., None], *dependencies: Any, event: Any, event_id: UUID) -> None:
    """Call an event handler with one event, also if it is a batch handler."""
    if "events" in inspect.signature(handler).parameters:
        received = ReceivedEvent(event=msgspec.to_builtins(event), event_id=event_id, event_headers={})
        handler(*dependencies, events=[received])
    else:
        handler(*dependencies, event=event, event_id=event_id)
