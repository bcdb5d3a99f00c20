"""A bridge in this process, and a handler whose behaviour is controlled by its events."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self
from uuid import uuid4

import pytest
from sqlalchemy.orm import Session

import settings
from bridge.consumer import dispatch, service_consumer
from bridge.consumer.dead_letter_store import DeadLetters
from bridge.consumer.dispatch import Dispatcher
from bridge.consumer.service_consumer import ServiceConsumer
from bridge.publisher.relay import Relay
from bridge.topics import TopicIdWatcher
from models.errors import ProjectionNotReady
from models.events import CourseCompleted
from tests.integration.bridge.kafka_probe import SampleAggregate, publish
from tests.support import databases
from tests.support.databases import Database
from tests.support.fake_workers import FakeWorkers
from tests.support.polling import eventually
from tests.support.tasks import Notes, registered, write_note

UNPUBLISHED = "SELECT count(*) FROM bus.outbox WHERE published_at IS NULL"
# Exceptions by the word in the event's title; the handler raises one per run.
FAULTS: dict[str, list[BaseException]] = defaultdict(list)
RELEASE = threading.Event()  # set: handlers of "wait" events continue
HOLD = threading.Event()  # set: handlers of "hold" events continue
IN_PROGRESS: set[str] = set()
OUT_OF_ORDER: set[str] = set()  # keys whose "effect" event was handled before any "cause" event
MAX_IN_PROGRESS: list[int] = [0]


def recording_handler(session: Session, *, event: CourseCompleted) -> None:
    """Write the note "<key> <number>"; the word at the end of the title selects further behaviour."""
    key, number, word = event.course_title.split()
    IN_PROGRESS.add(key)
    MAX_IN_PROGRESS[0] = max(MAX_IN_PROGRESS[0], len(IN_PROGRESS))
    try:
        if word == "wait":
            RELEASE.wait(10)
        if word == "hold":
            HOLD.wait(30)
        if word == "slow":
            time.sleep(0.05)
        if word == "cause":
            RELEASE.set()
        if word == "effect" and not RELEASE.is_set():
            OUT_OF_ORDER.add(key)
            raise ProjectionNotReady("the cause", key)
        write_note(session, f"{key} {number}")
        if FAULTS[word]:
            raise FAULTS[word].pop()
    finally:
        IN_PROGRESS.discard(key)


def idle_handler(session: Session, *, event: CourseCompleted) -> None:
    """A handler of another service, whose workers a test can pause."""


class BridgeHarness:
    """A bridge in this process with its database and fake workers."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.notes = Notes(database)
        self.fake_workers = FakeWorkers("progress")
        self.idle_workers = FakeWorkers("notifications")
        self.dead_letters = DeadLetters()
        self._stop = threading.Event()
        self.dispatcher = Dispatcher(self._stop, self.dead_letters)
        watch = TopicIdWatcher(self._stop)
        consumers = [
            ServiceConsumer(name, self.dispatcher, watch, self._stop) for name in ("progress", "notifications")
        ]
        self.threads = [self.dispatcher, watch, Relay(database.url, self._stop), *consumers]

    def __enter__(self) -> Self:
        for thread in self.threads:
            thread.daemon = True  # a thread that hangs fails its test, but does not block the end of the run
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        assert self._stop.is_set() or all(thread.is_alive() for thread in self.threads), "a thread of the bridge died"
        self._stop.set()
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive()

    def handled(self, key: SampleAggregate) -> list[int]:
        """Return the numbers of the handled events of ``key`` in their order."""
        notes = (note.split() for note in self.notes())
        return [int(number) for noted, number in notes if noted == key.aggregate_id]

    def wait_for(self, key: SampleAggregate, count: int | None = None, *, seconds: float = 20) -> None:
        count = key.version if count is None else count
        eventually(lambda: len(self.handled(key)) >= count, f"event {count} of the key", seconds=seconds)

    def done(self, key: SampleAggregate, handler: str) -> int:
        """Return the number of events of ``key`` in the inbox of ``handler``."""
        sql = "SELECT count(*) FROM bus.inbox JOIN bus.outbox ON event_id = id WHERE aggregateid = :key"
        return int(self.database.value(f"{sql} AND handler = :handler", handler=handler, key=key.aggregate_id))

    def open_dead_letters(self, key: SampleAggregate) -> list[tuple[int, str]]:
        """Return the open dead letters of ``key``: the number of the event, and "cause" or "parked"."""
        sql = """SELECT CAST(headers ->> 'ce_sequence' AS int), reason = 'parked' FROM bus.dead_letters
                 WHERE key = :key AND handler = 'progress.recording_handler' AND status = 'open' ORDER BY seq"""
        return [
            (number, "parked" if parked else "cause")
            for number, parked in self.database.rows(sql, key=key.aggregate_id)
        ]


@contextmanager
def bridge_harness(name: str, *, seconds: float) -> Iterator[BridgeHarness]:
    """Run a bridge on its own database with both handlers; yield it when its consumer groups have formed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "KAFKA_TOPIC_PREFIX", f"{uuid4().hex[:8]}.")
        patch.setattr(
            service_consumer,
            "ROUTES",
            {"COURSE_COMPLETED": ["progress.recording_handler", "notifications.idle_handler"]},
        )
        patch.setattr(dispatch, "REPLY_TIMEOUT_SECONDS", 0.4)
        database = databases.create_database(name)
        with (
            databases.using_database(database),
            registered(recording_handler),
            registered(idle_handler, service="notifications"),
            BridgeHarness(database) as harness,
            harness.fake_workers,
            harness.idle_workers,
        ):
            first = SampleAggregate()
            publish(first)
            harness.wait_for(first, seconds=seconds)
            yield harness


@contextmanager
def running_relay(database: Database) -> Iterator[Relay]:
    stop = threading.Event()
    thread = Relay(database.url, stop)
    thread.daemon = True  # a thread that hangs fails its test, but does not block the end of the run
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(30)
    assert not thread.is_alive()


def wait_until_published(database: Database) -> None:
    eventually(lambda: database.value(UNPUBLISHED) == 0, "the publication of all events")
