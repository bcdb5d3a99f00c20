"""Every event names what it follows from: the request, the trace, and the event or command before it."""

import re
from collections.abc import Iterator
from functools import partial
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from sqlalchemy.orm import Session

import celery_app
from models.events import CourseCompleted
from models.outbox import record
from models.redis import queue_redis
from tests.bridge.wire import Key
from tests.support.databases import Database
from tests.support.deliveries import carry_out, deliver
from tests.support.events import some
from tests.support.tasks import registered
from workers._jobs import JobCall
from workers.resources import Poke

REQUEST = {"request_id": "f" * 32, "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
CAUSES = {"request_id", "traceparent", "causation_id"}


def complete(session: Session, poke: Poke) -> None:
    record(session, Key(), some(CourseCompleted))  # type: ignore[arg-type]
    poke("progress.follow")


def follow(session: Session) -> None:
    record(session, Key(), some(CourseCompleted))  # type: ignore[arg-type]


def handle(session: Session, *, event: CourseCompleted) -> None:
    record(session, Key(), some(CourseCompleted))  # type: ignore[arg-type]


def tick(session: Session, poke: Poke) -> None:
    complete(session, poke)


@pytest.fixture(autouse=True)
def tasks() -> Iterator[None]:
    with registered(complete, follow, handle), registered(tick, as_call=partial(JobCall, every_seconds=10_000_000)):
        yield


def headers(database: Database) -> list[dict[str, Any]]:
    return [headers for (headers,) in database.rows("SELECT headers FROM bus.outbox ORDER BY seq")]


def carry_out_poked() -> None:
    """Take what was poked off the queue, as a worker does."""
    [message] = map(msgspec.json.decode, queue_redis().lrange("progress", 0, -1))
    envelope = msgspec.convert(message["headers"]["envelope"], celery_app.Envelope)
    carry_out("progress.follow", {}, envelope, task_id=str(uuid4()))


def test_an_event_names_the_command_that_it_follows_from(database: Database):
    carry_out("progress.complete", {}, celery_app.Envelope(**REQUEST), task_id="command-1")

    assert headers(database) == [{**REQUEST, "causation_id": "command-1"}]


def test_a_task_that_was_poked_keeps_the_cause(database: Database):
    carry_out("progress.complete", {}, celery_app.Envelope(**REQUEST), task_id="command-1")
    carry_out_poked()

    assert headers(database) == [{**REQUEST, "causation_id": "command-1"}] * 2


def test_an_event_names_the_event_that_it_follows_from(database: Database):
    event_id = str(uuid4())
    envelope = celery_app.Envelope(event_id=event_id, event_headers={}, **REQUEST)
    event = msgspec.to_builtins(some(CourseCompleted))
    carry_out("progress.handle", {"event": event}, envelope, task_id="any")

    assert headers(database) == [{**REQUEST, "causation_id": event_id}]


@pytest.mark.parametrize("task", ["progress.tick", "progress.complete"])
def test_without_a_request_a_correlation_begins(database: Database, task: str):
    """As of a job, and of a sender that gives no ids."""
    deliver(task)
    carry_out_poked()

    first, second = headers(database)
    assert first.keys() == CAUSES
    assert second == first
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", first["traceparent"])
