"""Delivery of a message to its task like a Celery worker, including claims, commits and reply."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from uuid import UUID, uuid4

import msgspec

import celery_app
from core.messaging import task_queue
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


def run_task(task: str, message: dict[str, Any], envelope: task_queue.Envelope, *, task_id: str) -> None:
    """Call the Celery task within a request, like a thread of the worker."""
    celery_app.celery_app.loader.import_default_modules()
    celery_task = celery_app.celery_app.tasks[task]
    celery_task.push_request(id=task_id, headers={"envelope": asdict(envelope)})
    try:
        celery_task.run(**message)
    finally:
        celery_task.pop_request()
