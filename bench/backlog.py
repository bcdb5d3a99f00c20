"""Measure how fast a backlog of old events drains and how long new events wait.

Run it with ``python -m bench.backlog --events 100000``. By default nine in ten old events are in the inbox already, as
after the loss of a Kafka log. The bridge reads the events twice: while the relay publishes them, and again from the
beginning of the topic, which measures the consumer alone. The servers, the bridge and the one worker with four threads
are real; all share this machine.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass

os.environ["AUDIT_EVERY_SECONDS"] = "86400"  # the audit would also read the whole backlog

import psutil
import psycopg2
from confluent_kafka import Consumer, TopicPartition

from bench.end_to_end import (
    BASE,
    STATE_DIR,
    connect,
    insert_events,
    lesson_completed,
    process,
    query,
    wait_until,
    worker,
)
from bench.targets import report
from bridge.kafka import group_of, topic_of
from core.redis import RELAY_HINT, queue_redis
from ops.dev.ports import METRICS_OF_BRIDGE
from ops.dev.stack import Stack
from settings import KAFKA_BOOTSTRAP_SERVERS, KAFKA_PARTITIONS, ROOT

SERVICE, HANDLER = "progress", "progress.handle"
NEW_EVERY_SECONDS = 0.1
METRICS_PORT = BASE + METRICS_OF_BRIDGE

_OLD_EVENTS = """
    INSERT INTO bus.outbox (id, aggregatetype, aggregateid, aggregate_version, type, payload, headers, created_at)
    SELECT uuidv7(), 'progress', gen_random_uuid()::text, 1, 'LESSON_COMPLETED', %s, '{}', now() - interval '1 day'
    FROM generate_series(1, %s)
"""
_KNOWN_EVENTS = "INSERT INTO bus.inbox SELECT %s, id, now() FROM bus.outbox WHERE seq %% 100 < %s"
_HANDLED_OLD = """
    SELECT count(*) FROM bus.inbox JOIN bus.outbox ON id = event_id
    WHERE handled_at > to_timestamp({began_at}) AND seq <= {last}
"""
_SKIPPED = 'coursebus_events_skipped_total{service="progress"} ([0-9.e+]+)'
_LATENCY = """
    SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM handled_at - created_at)), count(*)
    FROM bus.inbox JOIN bus.outbox ON id = event_id
    WHERE handler = 'progress.handle' AND seq >= {first} AND seq <= {last}
"""


@dataclass
class NewEvents:
    """The events published while the backlog is read: first and last ``seq``, and their number."""

    first: int = 0
    last: int = 0
    count: int = 0


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--events", type=int, default=20_000)
    arguments.add_argument("--known", type=int, default=90, help="percentage of old events in the inbox at the start")
    args = arguments.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: stops every process
    stack = Stack(STATE_DIR, BASE, only=["postgres", "queue", "cache", "kafka"], environ=os.environ)
    try:
        stack.start()
        migrate = [sys.executable, "-m", "migrations", "upgrade"]
        subprocess.run(migrate, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        measure(args.events, args.known)
    finally:
        stack.reset()
        shutil.rmtree(STATE_DIR, ignore_errors=True)


def measure(events: int, known_percent: int) -> None:
    last_old = write_old_events(events, known_percent)
    unknown = events - query("SELECT count(*) FROM bus.inbox")
    began_at = query("SELECT extract(epoch FROM now())::bigint")
    handled = _HANDLED_OLD.format(began_at=began_at, last=last_old)
    with bridge(), worker(), new_events() as new:
        began = time.monotonic()
        while query(handled) < unknown:
            time.sleep(1)  # the query counts all events
        seconds = time.monotonic() - began
    print(f"published and handled: {events} events, {unknown} of them unknown, in {seconds:.1f} s")
    report_runs_and_latency("published and handled", new, unknown)

    with reread_topic() as (new, running):
        rate = skip_rate(events, running)
    report("events read again a second", rate, 20_000)
    report_runs_and_latency("read again", new, 0)


def skip_rate(events: int, running: subprocess.Popen[bytes]) -> float:
    """Return how many known events the bridge skips per second; print its processor time, which other load does not
    change much.
    """
    bridge_process = psutil.Process(running.pid)

    def sample() -> tuple[float, float, float]:
        return time.monotonic(), skipped_total(), sum(bridge_process.cpu_times()[:2])

    samples = [sample()]
    while samples[-1][1] < events:
        time.sleep(0.5)
        samples.append(sample())
    # The last sample is from after the end of the reading, at an unknown time.
    (began, first, cpu_before), (ended, last, cpu) = samples[0], samples[-2] if len(samples) > 2 else samples[-1]
    print(f"processor time of the bridge: {(cpu - cpu_before) / (last - first) * 1e6:.0f} µs an event read again")
    return (last - first) / (ended - began)


def skipped_total() -> float:
    """Return the number of skipped events from the metrics of the bridge."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{METRICS_PORT}/metrics", timeout=10) as response:
            found = re.search(_SKIPPED, response.read().decode())
    except urllib.error.URLError:  # the bridge is still starting
        return 0.0
    return float(found[1]) if found else 0.0


def bridge() -> AbstractContextManager[subprocess.Popen[bytes]]:
    return process("bench.tasks", METRICS_PORT=str(METRICS_PORT))


def report_runs_and_latency(label: str, new: NewEvents, unknown: int) -> None:
    """Print the handler runs per event and the 95th percentile of the latency of new events."""
    runs, handled = runs_since_last(), unknown + new.count
    report(f"{label}: runs per event", runs / max(handled, 1), 1.05, at_most=True)
    database = connect()
    with database.cursor() as cursor:
        cursor.execute(_LATENCY.format(first=new.first, last=new.last))
        [[p95, count]] = cursor.fetchall()
    database.close()
    report(f"{label}: p95 of {count} new events, s", float(p95), 2, at_most=True)


def write_old_events(events: int, known_percent: int) -> int:
    """Insert the old events; return the ``seq`` of the last one."""
    database = connect()
    with database, database.cursor() as cursor:
        cursor.execute(_OLD_EVENTS, [psycopg2.extras.Json(lesson_completed()), events])
        cursor.execute(_KNOWN_EVENTS, [HANDLER, known_percent])
        cursor.execute("ANALYZE bus.outbox, bus.inbox")
    database.close()
    return query("SELECT max(seq) FROM bus.outbox")


@contextmanager
def new_events() -> Iterator[NewEvents]:
    """Publish a new event every NEW_EVERY_SECONDS."""
    new, stop = NewEvents(), threading.Event()

    def publish() -> None:
        while not stop.wait(NEW_EVERY_SECONDS):
            new.last = insert_events(1)
            new.first = new.first or new.last
            new.count += 1
            queue_redis().lpush(RELAY_HINT, 1)

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield new
    finally:
        stop.set()
        thread.join()
        wait_until(lambda: count_handled(new) == new.count, 120)


def count_handled(new: NewEvents) -> int:
    """Return how many of the new events are handled."""
    return query(
        f"SELECT count(*) FROM bus.inbox JOIN bus.outbox ON id = event_id WHERE seq BETWEEN {new.first} AND {new.last}"  # noqa: S608 numbers only
    )


@contextmanager
def reread_topic() -> Iterator[tuple[NewEvents, subprocess.Popen[bytes]]]:
    """Reset the consumer group to the beginning of the topic and publish new events while the bridge reads."""
    offsets = [TopicPartition(topic_of(SERVICE), number, 0) for number in range(KAFKA_PARTITIONS)]
    wait_until(lambda: try_commit(offsets), 60)
    with bridge() as running, worker():
        wait_until(lambda: skipped_total() > 0, 60)  # the consumer has joined its group
        with new_events() as new:
            yield new, running


def try_commit(offsets: list[TopicPartition]) -> bool:
    """Commit offsets for the consumer group; return False while the broker still counts a member."""
    try:
        with closing(group()) as consumer:
            consumer.commit(offsets=offsets, asynchronous=False)
    except Exception:  # noqa: BLE001 the client raises several types
        return False
    return True


def group() -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": KAFKA_BOOTSTRAP_SERVERS,
            "group.id": group_of(SERVICE),
            "enable.auto.commit": False,
        }
    )


def runs_since_last() -> int:
    """Count the runs of the handler in the worker's log, and empty the log."""
    log = STATE_DIR / "logs" / "bench-celery.log"
    lines = [line for line in log.read_text().splitlines() if "task ended" in line and HANDLER in line]
    log.write_text("")
    return len(lines)


if __name__ == "__main__":
    main()
