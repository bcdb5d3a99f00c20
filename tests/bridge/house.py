"""A bridge of this process, and a handler that does what its events say."""

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
from bridge import consume, dispatch
from bridge.consume import ServiceConsumer
from bridge.deadletters import DeadLetters
from bridge.dispatch import Dispatcher
from bridge.relay import Relay
from bridge.topics import TopicWatch
from models.errors import ProjectionBehind
from models.events import CourseCompleted
from tests.bridge.wire import Key, tell
from tests.support import databases
from tests.support.databases import Database
from tests.support.hands import Hands
from tests.support.tasks import Notes, registered, write
from tests.support.waiting import eventually

UNPUBLISHED = "SELECT count(*) FROM bus.outbox WHERE published_at IS NULL"
FAULTS: dict[str, list[BaseException]] = defaultdict(list)  # by the word that the event tells, raised one a time
HELD = threading.Event()  # set: who is told "wait" goes on
UNDER_WAY: set[str] = set()
TOO_EARLY: set[str] = set()  # who was told "effect" before anybody was told "cause"
MOST_UNDER_WAY: list[int] = [0]


def take(session: Session, *, event: CourseCompleted) -> None:
    """Note "<key> <number>". What else is to happen the event tells."""
    key, number, word = event.course_title.split()
    UNDER_WAY.add(key)
    MOST_UNDER_WAY[0] = max(MOST_UNDER_WAY[0], len(UNDER_WAY))
    try:
        if word == "wait":
            HELD.wait(10)
        if word == "slow":
            time.sleep(0.05)
        if word == "cause":
            HELD.set()
        if word == "effect" and not HELD.is_set():
            TOO_EARLY.add(key)
            raise ProjectionBehind("the cause", key)
        write(session, f"{key} {number}")
        if FAULTS[word]:
            raise FAULTS[word].pop()
    finally:
        UNDER_WAY.discard(key)


def look_on(session: Session, *, event: CourseCompleted) -> None:
    """A handler of another service, whose worker may sleep."""


class House:
    """A bridge of this process, its database, and hands that work the queues."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.notes = Notes(database)
        self.hands = Hands("progress")
        self.sleepers = Hands("notifications")
        self.dead_letters = DeadLetters()
        self._stop = threading.Event()
        self.dispatcher = Dispatcher(self._stop, self.dead_letters)
        watch = TopicWatch(self._stop)
        consumers = [
            ServiceConsumer(name, self.dispatcher, watch, self._stop) for name in ("progress", "notifications")
        ]
        self.threads = [self.dispatcher, watch, Relay(database.url, self._stop), *consumers]

    def __enter__(self) -> Self:
        for thread in self.threads:
            thread.daemon = True  # one that hangs fails the test, and not the run
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

    def noted(self, key: Key) -> list[int]:
        """Which events of ``key`` were taken, in this order."""
        notes = (note.split() for note in self.notes())
        return [int(number) for noted, number in notes if noted == key.aggregate_id]

    def wait_for(self, key: Key, count: int | None = None, *, seconds: float = 20) -> None:
        count = key.version if count is None else count
        eventually(lambda: len(self.noted(key)) >= count, f"event {count} of the key", seconds=seconds)

    def done(self, key: Key, handler: str) -> int:
        """How many events of ``key`` are in the inbox of ``handler``."""
        sql = "SELECT count(*) FROM bus.inbox JOIN bus.outbox ON event_id = id WHERE aggregateid = :key"
        return int(self.database.value(f"{sql} AND handler = :handler", handler=handler, key=key.aggregate_id))

    def letters(self, key: Key) -> list[tuple[int, str]]:
        """The open dead letters of ``key``: which of its events, and whether it was parked or is the cause."""
        sql = """SELECT CAST(headers ->> 'ce_sequence' AS int), reason = 'parked' FROM bus.dead_letters
                 WHERE key = :key AND handler = 'progress.take' AND status = 'open' ORDER BY seq"""
        return [
            (number, "parked" if parked else "cause")
            for number, parked in self.database.rows(sql, key=key.aggregate_id)
        ]


@contextmanager
def house_in(name: str, *, seconds: float) -> Iterator[House]:
    """A house on a database of its own with both handlers at work, once its groups have come together."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "KAFKA_TOPIC_PREFIX", f"{uuid4().hex[:8]}.")
        patch.setattr(consume, "ROUTES", {"COURSE_COMPLETED": ["progress.take", "notifications.look_on"]})
        patch.setattr(dispatch, "UNANSWERED_SECONDS", 0.4)
        database = databases.copy(name)
        with (
            databases.used(database),
            registered(take),
            registered(look_on, service="notifications"),
            House(database) as house,
            house.hands,
            house.sleepers,
        ):
            first = Key()
            tell(first)
            house.wait_for(first, seconds=seconds)
            yield house


@contextmanager
def running_relay(database: Database) -> Iterator[Relay]:
    stop = threading.Event()
    thread = Relay(database.url, stop)
    thread.daemon = True  # one that hangs fails the test, and not the run
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(30)
    assert not thread.is_alive()


def wait_until_published(database: Database) -> None:
    eventually(lambda: database.value(UNPUBLISHED) == 0, "the last mark")
