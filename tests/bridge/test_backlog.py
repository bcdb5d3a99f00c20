"""Thousands of old events at once: most are known, and new ones do not wait for them."""

import threading
import time
from collections.abc import Iterator

import msgspec
import pytest
from prometheus_client import REGISTRY

import settings
from models.events import CourseCompleted
from models.redis import queue_redis
from tests.bridge.house import House, house_in, wait_until_published
from tests.bridge.wire import Key, tell
from tests.support.events import some
from tests.support.waiting import eventually

OLD, KNOWN_OF_TEN = 4000, 9
HANDLERS = ("progress.take", "notifications.look_on")
# Far above what bench/backlog.py measures, and far below the minutes of a dispatcher that stands still.
STANDS_STILL_SECONDS = NEW_WITHIN_SECONDS = 15.0
RUNS_PER_EVENT = 1.05

_OLD_EVENTS = """
    INSERT INTO bus.outbox (id, aggregatetype, aggregateid, aggregate_version, type, payload, headers, created_at)
    SELECT uuidv7(), 'progress', :name || '-' || number, 1, 'COURSE_COMPLETED',
        CAST(:payload AS jsonb) || jsonb_build_object('course_title', :name || '-' || number || ' 1 old'),
        '{}', now() - interval '1 day'
    FROM generate_series(1, :events) AS number
"""
_KNOWN_EVENTS = """
    INSERT INTO bus.inbox (handler, event_id, handled_at)
    SELECT :handler, id, now() FROM bus.outbox
    WHERE aggregateid LIKE :name || '-%' AND seq % 10 < :known_of_ten
"""
_NOTED = "SELECT count(*) FROM progress.notes WHERE note LIKE :name || '-%'"
_LATENCIES = """
    SELECT extract(epoch FROM handled_at - created_at) FROM bus.outbox
    LEFT JOIN bus.inbox ON event_id = id AND handler = 'progress.take' WHERE aggregateid = ANY(:keys)
"""


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "KAFKA_PARTITIONS", 3)
        with house_in("backlog", seconds=40) as house:
            yield house


def write_backlog(house: House, name: str) -> None:
    """Put old events into the outbox, of which nine in ten are in the inboxes of both handlers."""
    payload = msgspec.json.encode(some(CourseCompleted)).decode()
    house.database.execute(_OLD_EVENTS, name=name, payload=payload, events=OLD)
    for handler in HANDLERS:
        house.database.execute(_KNOWN_EVENTS, name=name, handler=handler, known_of_ten=KNOWN_OF_TEN)


def handled(house: House) -> int:
    skipped = sum(
        REGISTRY.get_sample_value("coursebus_events_skipped_total", {"service": service}) or 0
        for service in ("progress", "notifications")
    )
    return int(skipped) + house.database.count("bus.inbox")


class Stillness:
    """The longest time without progress, but for times in which workers rest."""

    def __init__(self) -> None:
        self.longest_seconds = 0.0
        self._before, self._since = -1, time.monotonic()

    def look(self, progress: int, *, excused: bool) -> None:
        now = time.monotonic()
        if progress != self._before or excused:
            self._before, self._since = progress, now
        self.longest_seconds = max(self.longest_seconds, now - self._since)


def disturb(disturbance: str, house: House, excused: threading.Event, lost: list[int]) -> None:
    if disturbance == "workers stopped":
        excused.set()
        with house.hands.resting(), house.sleepers.resting():
            time.sleep(2.5)
        excused.clear()
    if disturbance == "Redis flushed":
        lost.append(len(house.dispatcher))
        queue_redis().flushall()


@pytest.mark.parametrize("disturbance", ["none", "workers stopped", "Redis flushed"])
def test_backlog_is_handled_steadily_and_new_events_do_not_wait_for_it(house: House, disturbance: str):
    name = disturbance.replace(" ", "_")
    house.hands.runs.clear()
    with house.hands.resting(), house.sleepers.resting():
        write_backlog(house, name)
        wait_until_published(house.database)
    unknown = OLD - OLD * KNOWN_OF_TEN // 10
    stillness, excused, new, lost = Stillness(), threading.Event(), list[Key](), list[int]()

    def left() -> int:
        return unknown - int(house.database.value(_NOTED, name=name))

    eventually(lambda: left() < unknown * 0.9, "the first unknown events", seconds=30)
    disturbing = threading.Thread(target=disturb, args=[disturbance, house, excused, lost])
    disturbing.start()
    while left() or disturbing.is_alive():
        if not excused.is_set():
            new.append(Key())
            tell(new[-1])
        stillness.look(handled(house), excused=excused.is_set())
        time.sleep(0.2)
    disturbing.join()
    for key in new:
        house.wait_for(key)
    eventually(lambda: len(house.dispatcher) == 0, "the end of all deliveries")
    latencies = [seconds for (seconds,) in house.database.rows(_LATENCIES, keys=[key.aggregate_id for key in new])]
    runs = house.hands.runs

    assert stillness.longest_seconds < STANDS_STILL_SECONDS
    # Deliveries that were in flight when Redis lost its data are sent again; some of them had already run.
    assert sum(runs.values()) - sum(lost) <= len(runs) * RUNS_PER_EVENT
    # Known events that arrive one by one, as after a pause of the broker, are left to the inbox of the worker.
    assert unknown + len(new) <= len(runs) <= unknown + len(new) + (OLD - unknown) // 10
    assert max(latencies) < NEW_WITHIN_SECONDS
