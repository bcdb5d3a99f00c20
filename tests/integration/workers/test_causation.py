"""Every event carries its cause: the request, the trace, and the preceding event or command."""

import re
from collections.abc import Iterator
from functools import partial
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from sqlalchemy.orm import Session

from core.bus.outbox import record
from core.commands import Command
from core.messaging import task_queue
from core.redis import queue_redis
from models.events import CourseCompleted
from tests.integration.bridge.kafka_probe import SampleAggregate
from tests.support.databases import Database
from tests.support.deliveries import deliver, run_task
from tests.support.events import build_event
from tests.support.tasks import registered
from workers.runtime.dependencies import EnqueueAfterCommit
from workers.runtime.jobs import JobDefinition

REQUEST = {"request_id": "f" * 32, "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
CAUSES = {"request_id", "traceparent", "causation_id"}


class Follow(Command, service="progress"):
    """The command of the task ``follow`` below."""


def complete(session: Session, enqueue_after_commit: EnqueueAfterCommit) -> None:
    record(session, SampleAggregate(), build_event(CourseCompleted))  # type: ignore[arg-type]
    enqueue_after_commit(Follow())


def follow(session: Session) -> None:
    record(session, SampleAggregate(), build_event(CourseCompleted))  # type: ignore[arg-type]


def handle(session: Session, *, event: CourseCompleted) -> None:
    record(session, SampleAggregate(), build_event(CourseCompleted))  # type: ignore[arg-type]


def tick(session: Session, enqueue_after_commit: EnqueueAfterCommit) -> None:
    complete(session, enqueue_after_commit)


@pytest.fixture(autouse=True)
def tasks() -> Iterator[None]:
    with (
        registered(complete, follow, handle),
        registered(tick, as_call=partial(JobDefinition, every_seconds=10_000_000)),
    ):
        yield


def headers(database: Database) -> list[dict[str, Any]]:
    """Return what each event says about its cause; its headers also name the task that recorded it."""
    rows = database.rows("SELECT headers FROM bus.outbox ORDER BY seq")
    return [{name: value for name, value in headers.items() if name not in {"task", "sent_at"}} for (headers,) in rows]


def run_enqueued_task() -> None:
    """Take the enqueued hint from the queue and run its task, like a worker."""
    [message] = map(msgspec.json.decode, queue_redis().lrange("progress", 0, -1))
    envelope = msgspec.convert(message["headers"]["envelope"], task_queue.Envelope)
    run_task("progress.follow", {}, envelope, task_id=str(uuid4()))


def test_event_has_causation_id_of_its_command(database: Database):
    run_task("progress.complete", {}, task_queue.Envelope(**REQUEST), task_id="command-1")

    assert headers(database) == [{**REQUEST, "causation_id": "command-1"}]


def test_enqueued_task_keeps_causation_id(database: Database):
    run_task("progress.complete", {}, task_queue.Envelope(**REQUEST), task_id="command-1")
    run_enqueued_task()

    assert headers(database) == [{**REQUEST, "causation_id": "command-1"}] * 2


def test_event_has_causation_id_of_its_event(database: Database):
    event_id = str(uuid4())
    envelope = task_queue.Envelope(event_id=event_id, event_headers={}, **REQUEST)
    event = msgspec.to_builtins(build_event(CourseCompleted))
    run_task("progress.handle", {"event": event}, envelope, task_id="any")

    assert headers(database) == [{**REQUEST, "causation_id": event_id}]


@pytest.mark.parametrize("task", ["progress.tick", "progress.complete"])
def test_correlation_starts_without_a_request(database: Database, task: str):
    """Jobs, and senders without ids, start a new correlation id and trace."""
    deliver(task)
    run_enqueued_task()

    first, second = headers(database)
    assert first.keys() == CAUSES
    assert second == first
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", first["traceparent"])
