"""Thousands of old events at once, most of them handled before, do not delay new events."""

import threading
import time
from collections.abc import Iterator

import msgspec
import pytest
from prometheus_client import REGISTRY

import settings
from core.redis import queue_redis
from models.events import CourseCompleted
from tests.integration.bridge.harness import BridgeHarness, bridge_harness, wait_until_published
from tests.integration.bridge.kafka_probe import SampleAggregate, publish
from tests.support.events import build_event
from tests.support.polling import eventually

OLD, KNOWN_OF_TEN = 4000, 9
HANDLERS = ("progress.recording_handler", "notifications.idle_handler")
# Far above the results of bench/backlog.py, and far below the minutes of a stalled dispatcher.
MAX_STALL_SECONDS = MAX_NEW_EVENT_LATENCY_SECONDS = 15.0
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
_HANDLED_COUNT = "SELECT count(*) FROM progress.notes WHERE note LIKE :name || '-%'"
_LATENCIES = """
    SELECT extract(epoch FROM handled_at - created_at) FROM bus.outbox
    LEFT JOIN bus.inbox ON event_id = id AND handler = 'progress.recording_handler' WHERE aggregateid = ANY(:keys)
"""


@pytest.fixture(scope="module")
def harness() -> Iterator[BridgeHarness]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "KAFKA_PARTITIONS", 3)
        with bridge_harness("backlog", seconds=40) as harness:
            yield harness


def write_backlog(harness: BridgeHarness, name: str) -> None:
    """Insert old events into the outbox; nine in ten of them are in the inboxes of both handlers."""
    payload = msgspec.json.encode(build_event(CourseCompleted)).decode()
    harness.database.execute(_OLD_EVENTS, name=name, payload=payload, events=OLD)
    for handler in HANDLERS:
        harness.database.execute(_KNOWN_EVENTS, name=name, handler=handler, known_of_ten=KNOWN_OF_TEN)


def handled(harness: BridgeHarness) -> int:
    skipped = sum(
        REGISTRY.get_sample_value("coursebus_events_skipped_total", {"service": service}) or 0
        for service in ("progress", "notifications")
    )
    return int(skipped) + harness.database.count("bus.inbox")


class StallTimer:
    """Measures the longest time without progress, except while workers are paused."""

    def __init__(self) -> None:
        self.longest_seconds = 0.0
        self._before, self._since = -1, time.monotonic()

    def observe(self, progress: int, *, excused: bool) -> None:
        now = time.monotonic()
        if progress != self._before or excused:
            self._before, self._since = progress, now
        self.longest_seconds = max(self.longest_seconds, now - self._since)


def disturb(disturbance: str, harness: BridgeHarness, excused: threading.Event, lost: list[int]) -> None:
    if disturbance == "workers stopped":
        excused.set()
        with harness.fake_workers.paused(), harness.idle_workers.paused():
            time.sleep(2.5)
        excused.clear()
    if disturbance == "Redis flushed":
        lost.append(len(harness.dispatcher))
        queue_redis().flushall()


@pytest.mark.parametrize("disturbance", ["none", "workers stopped", "Redis flushed"])
def test_backlog_is_handled_steadily_without_delaying_new_events(harness: BridgeHarness, disturbance: str):
    name = disturbance.replace(" ", "_")
    harness.fake_workers.runs.clear()
    with harness.fake_workers.paused(), harness.idle_workers.paused():
        write_backlog(harness, name)
        wait_until_published(harness.database)
    unknown = OLD - OLD * KNOWN_OF_TEN // 10
    stall, excused, new, lost = StallTimer(), threading.Event(), list[SampleAggregate](), list[int]()

    def left() -> int:
        return unknown - int(harness.database.value(_HANDLED_COUNT, name=name))

    eventually(lambda: left() < unknown * 0.9, "the first unknown events")
    disturbing = threading.Thread(target=disturb, args=[disturbance, harness, excused, lost])
    disturbing.start()
    while left() or disturbing.is_alive():
        if not excused.is_set():
            new.append(SampleAggregate())
            publish(new[-1])
        stall.observe(handled(harness), excused=excused.is_set())
        time.sleep(0.2)
    disturbing.join()
    for key in new:
        harness.wait_for(key)
    eventually(lambda: len(harness.dispatcher) == 0, "the end of all deliveries")
    latencies = [seconds for (seconds,) in harness.database.rows(_LATENCIES, keys=[key.aggregate_id for key in new])]
    runs = harness.fake_workers.runs

    assert stall.longest_seconds < MAX_STALL_SECONDS
    # Deliveries that were in flight during the flush of Redis are sent again, and some of them had already run.
    assert sum(runs.values()) - sum(lost) <= len(runs) * RUNS_PER_EVENT
    # Known events that arrive one by one, for example after a pause of the broker, are sent: the worker's inbox skips
    # them.
    assert unknown + len(new) <= len(runs) <= unknown + len(new) + (OLD - unknown) // 10
    assert max(latencies) < MAX_NEW_EVENT_LATENCY_SECONDS
