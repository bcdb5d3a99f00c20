"""Measure commands, relay, consumer and workers end to end: ``python -m bench.end_to_end``.

The results are ratios taken in one run on one machine, so that they are comparable between machines. The servers, one
worker with four threads, one bridge and the clients all run on this machine.
"""

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from ops.dev.ports import OFFSETS, free_base

# Set before the first import that reads the settings.
BASE = free_base()
STATE_DIR = Path(tempfile.mkdtemp(prefix="coursebus-bench-"))
STATE_DIR.chmod(0o711)
os.environ.update(PORT_BASE=str(BASE), STATE_DIR=str(STATE_DIR), RATE_LIMITS="off", COMMAND_TIMEOUT_SECONDS="30")
os.environ["MAX_REQUESTS_PER_SERVICE"] = "64"

import psutil  # noqa: E402
import psycopg2  # noqa: E402
from psycopg2.extras import execute_values  # noqa: E402

from api import create_app  # noqa: E402
from api.rpc import call  # noqa: E402
from bench.targets import report  # noqa: E402
from core.commands import Command  # noqa: E402
from core.messaging import task_queue  # noqa: E402
from core.redis import RELAY_HINT, queue_redis  # noqa: E402
from models.commands import CompleteLesson  # noqa: E402
from ops.dev.stack import Stack  # noqa: E402
from settings import ROOT  # noqa: E402

CLIENTS = 8
LESSONS = 20
USERS = 400
COURSE = str(uuid4())
PEOPLE = [str(uuid4()) for _ in range(USERS)]
LESSON_IDS = [str(uuid4()) for _ in range(LESSONS)]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=6, help="of each measurement of a rate")
    arguments.add_argument("--events", type=int, default=20_000, help="through the relay and the consumer")
    arguments.add_argument(
        "--rows", type=int, default=1_000_000, help="of outbox and inbox that must not slow anything down"
    )
    args = arguments.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: stops every process
    stack = Stack(STATE_DIR, BASE, only=["postgres", "queue", "cache", "kafka"], environ=os.environ)
    try:
        stack.start()
        subprocess.run([sys.executable, "-m", "migrations", "upgrade"], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        measure(args)
    finally:
        stack.reset()
        shutil.rmtree(STATE_DIR, ignore_errors=True)


def measure(args: argparse.Namespace) -> None:
    make_learners()
    app = create_app()
    with worker(), worker("users", CELERY_DEFAULT_TRANSPORT="1"):
        noop, completion = commands(app, args.seconds)
    with worker():
        alone = handlers_alone(args.events)
    relay, through = events(args.events)
    report("commit to handled, ms, p95 at 50 events/s", latency_p95(seconds=8) * 1000, 60, at_most=True)
    fill(args.rows)
    with worker(), worker("users", CELERY_DEFAULT_TRANSPORT="1"):
        later_noop, later_completion = commands(app, args.seconds, label="with these rows ")
    later_relay, later_through = events(args.events, label="with these rows ")
    report("consumer / workers alone", through / alone, 0.8)
    report(
        "completion, relay, consumer: slower by",
        max((completion / noop) / (later_completion / later_noop), relay / later_relay, through / later_through),
        1.2,
        at_most=True,
    )


# Commands.


class Noop(Command, service="progress"):
    """The task ``noop`` of bench/tasks.py."""


def commands(app, seconds: float, label: str = "") -> tuple[float, float]:
    def call_task(command: Command) -> None:
        with app.test_request_context("/"):
            call(command)

    def bare(service: str = "users") -> None:
        reply_to = f"reply:{uuid4()}"
        task_queue.enqueue(f"{service}.bare", {"reply_to": reply_to}, task_queue.Envelope())
        assert queue_redis().blpop([reply_to], timeout=30)

    database = connect()
    with database.cursor() as cursor:  # reset the progress of all learners
        cursor.execute("DELETE FROM progress.completed_lessons; DELETE FROM bus.outbox WHERE published_at IS NULL")
        cursor.execute("UPDATE progress.course_progress SET lessons_completed = 0, completed_at = NULL")
        cursor.execute("UPDATE progress.course_progress SET version = version + 1000")
    database.close()
    todo = iter([(user, lesson) for lesson in LESSON_IDS for user in PEOPLE])
    lock = threading.Lock()

    def complete_lesson() -> None:
        with lock:
            user, lesson = next(todo)
        call_task(CompleteLesson(user_id=user, course_id=COURSE, lesson_id=lesson))

    def bare_on_own_transport() -> None:
        bare("progress")

    rate(bare, 1)  # warm-up
    # The subjects take turns, so that other load on this machine affects all of them equally.
    bares, ours, noops, completions = [], [], [], []
    for _ in range(3):
        bares.append(rate(bare, seconds / 3))
        ours.append(rate(bare_on_own_transport, seconds / 3))
        noops.append(rate(lambda: call_task(Noop()), seconds / 3))
        completions.append(rate(complete_lesson, seconds / 3))
    best, our_best, noop, completion = map(statistics.median, (bares, ours, noops, completions))
    p50 = statistics.median(durations(lambda: call_task(Noop()), seconds / 3))
    p50_completion = statistics.median(durations(complete_lesson, seconds / 3))
    print(f"{label}bare round trip {best:.0f}/s, by our worker {our_best:.0f}/s")
    print(f"{label}no-op call {noop:.0f}/s, lesson completion {completion:.0f}/s")
    print(f"{label}p50 at one client: no-op {p50 * 1000:.1f} ms")
    report(f"{label}completion, one client: p50 in ms", p50_completion * 1000, 6, at_most=True)
    report(f"{label}no-op call / bare round trip", noop / best, 0.9)
    report(f"{label}completion / no-op", completion / noop, 0.6)
    return noop, completion


def rate(act: Callable[[], None], seconds: float) -> float:
    """Return the calls of ``act`` per second by CLIENTS threads."""
    until = time.monotonic() + seconds

    def call_repeatedly() -> int:
        done = 0
        while time.monotonic() < until:
            act()
            done += 1
        return done

    began = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        done = sum(each.result() for each in [pool.submit(call_repeatedly) for _ in range(CLIENTS)])
    return done / (time.monotonic() - began)


def durations(act: Callable[[], None], seconds: float) -> list[float]:
    until, seconds_taken = time.monotonic() + seconds, []
    while time.monotonic() < until:
        began = time.perf_counter()
        act()
        seconds_taken.append(time.perf_counter() - began)
    return seconds_taken


# Events.


def handlers_alone(number: int) -> float:
    """Return how many events per second the worker handles from a full queue."""
    number = min(number, 5000)
    reply_to = f"reply:{uuid4()}"
    event = lesson_completed()
    began = time.monotonic()
    for _ in range(number):
        envelope = task_queue.Envelope(reply_to=reply_to, event_id=str(uuid4()))
        task_queue.enqueue("progress.handle", {"event": event}, envelope, limit=10**6)
    sent = time.monotonic()
    left = number - int(queue_redis().llen(reply_to))
    wait_until(lambda: queue_redis().llen(reply_to) >= number, 300)
    handled = left / (time.monotonic() - sent)  # sending uses the same cores, so count only events handled after it
    queue_redis().delete(reply_to)
    print(f"sent at {number / (sent - began):.0f}/s")
    report("events handled from a full queue by one worker, a second", handled, 1500)
    return handled


def events(number: int, label: str = "") -> tuple[float, float]:
    """Return the events per second of the relay and of the consumer; print the memory growth of the bridge."""
    begin_at = insert_events(number)
    with process("bench.tasks") as bridge:
        wait_until(lambda: count("published_at IS NOT NULL", begin_at) > 0, 60)
        began, first = time.monotonic(), count("published_at IS NOT NULL", begin_at)
        wait_until(lambda: count("published_at IS NULL", begin_at) == 0, 300)
        relay = (number - first) / (time.monotonic() - began)
        with worker():
            wait_until(lambda: handled(begin_at) > number / 10, 120)
            began, first, before = time.monotonic(), handled(begin_at), memory_of(bridge)
            wait_until(lambda: handled(begin_at) >= number, 600)
            through = (number - first) / (time.monotonic() - began)
            growth = memory_of(bridge) / before
    print(f"{label}consumer {through:.0f} events/s")
    report(f"{label}events published by the relay, a second", relay, 5000)
    report(f"{label}bridge's memory after {number} events", growth, 1.1, at_most=True)
    return relay, through


def latency_p95(*, seconds: float) -> float:
    """Return the 95th percentile in seconds from the creation of an event to its row in the inbox."""
    with process("bench.tasks"), worker():
        warm = insert_events(50)
        wait_until(lambda: handled(warm) >= 50, 60)
        first = None
        for _ in range(int(seconds * 50)):
            began = insert_events(1)
            first = first or began
            queue_redis().lpush(RELAY_HINT, 1)
            time.sleep(0.02)
        wait_until(lambda: handled(first) >= int(seconds * 50), 60)
    database = connect()
    with database, database.cursor() as cursor:
        cursor.execute(
            """SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM handled_at - created_at))
            FROM bus.inbox JOIN bus.outbox ON id = event_id WHERE seq >= %s""",
            [first],
        )
        [p95] = cursor.fetchone()
    database.close()
    return float(p95)


def insert_events(number: int) -> int:
    """Insert events of ``number`` learners into the outbox, with ids like those of new_id(); return the first
    ``seq``.
    """
    database = connect()
    with database, database.cursor() as cursor:
        cursor.execute(
            """INSERT INTO bus.outbox
            (id, aggregatetype, aggregateid, aggregate_version, type, payload, headers, created_at)
            SELECT uuidv7(), 'progress', gen_random_uuid()::text, 1, 'LESSON_COMPLETED', %s, '{}',
            clock_timestamp() FROM generate_series(1, %s) RETURNING seq""",
            [psycopg2.extras.Json(lesson_completed()), number],
        )
        [first] = cursor.fetchone()
    database.close()
    return int(first)


def lesson_completed() -> dict[str, object]:
    ids = {name: str(uuid4()) for name in ("user_id", "course_id", "lesson_id")}
    counts = {"lessons_completed": 1, "lessons_total": LESSONS, "completed_at": "2026-01-01T00:00:00Z"}
    return {**ids, "course_title": "A course", "lesson_title": "A lesson", **counts}


def count(condition: str, begin_at: int) -> int:
    return query(f"SELECT count(*) FROM bus.outbox WHERE seq >= {begin_at} AND {condition}")  # noqa: S608 fixed conditions


def handled(begin_at: int) -> int:
    return query(
        f"SELECT count(*) FROM bus.outbox JOIN bus.inbox ON event_id = id AND handler = 'progress.handle' WHERE seq >= {begin_at}"  # noqa: S608, E501 a number only
    )


def memory_of(running: subprocess.Popen[bytes]) -> int:
    return psutil.Process(running.pid).memory_info().rss


# Set-up, processes and queries.


def make_learners() -> None:
    database = connect()
    lessons = [{"id": lesson, "title": "A lesson"} for lesson in LESSON_IDS]
    with database, database.cursor() as cursor:
        cursor.execute(
            """INSERT INTO progress.outlines (course_id, course_version, title, sequential, lessons)
            VALUES (%s, 1, 'A course', false, %s)""",
            [COURSE, psycopg2.extras.Json(lessons)],
        )
        execute_values(
            cursor,
            """INSERT INTO progress.course_progress
            (user_id, course_id, course_version, version, lessons_total, lessons_completed, started_at) VALUES %s""",
            [(user, COURSE, 1, 0, LESSONS, 0, "2026-01-01T00:00:00Z") for user in PEOPLE],
        )
    database.close()


def fill(rows: int) -> None:
    """Insert the rows of years. Ids rise with time, like those of core.db.new_id(); idempotency keys are random."""
    database = connect()
    with database, database.cursor() as cursor:
        cursor.execute(
            """INSERT INTO bus.outbox (id, aggregatetype, aggregateid, aggregate_version, type, payload, headers,
            created_at, published_at) SELECT uuidv7(), 'progress', uuidv7()::text, 1, 'OLD', %s, '{}',
            now(), now() FROM generate_series(1, %s)""",
            [psycopg2.extras.Json(lesson_completed()), rows],
        )
        cursor.execute(
            "INSERT INTO bus.inbox SELECT 'progress.handle', uuidv7(), now() FROM generate_series(1, %s)",
            [rows],
        )
        cursor.execute(
            """INSERT INTO bus.idempotency_keys (scope, key, fingerprint, response, created_at)
            SELECT 'a', gen_random_uuid()::text, 'b', '{}', now() FROM generate_series(1, %s)""",
            [rows // 10],
        )
    database.close()
    database = connect()
    with database.cursor() as cursor:
        # Tables of years are vacuumed. Without this, autovacuum would still work on the new rows during the
        # measurement.
        cursor.execute("VACUUM (ANALYZE) bus.outbox, bus.inbox, bus.idempotency_keys")
        cursor.execute("CHECKPOINT")
    database.close()
    print(
        f"now with {rows} published rows in the outbox, {rows} in the inbox, {rows // 10} idempotency keys", flush=True
    )


@contextmanager
def worker(service: str = "progress", **environ: str) -> Iterator[None]:
    """Run one worker of a service with the options of the platform."""
    options = ["worker", "-P", "threads", "-c", "4", "-Q", service, "-n", f"{service}@%h", "-E"]
    command = ["celery", "-A", "bench.tasks", *options, "--without-gossip", "--without-mingle"]
    with process(*command, SERVICE=service, **environ):
        task_queue.enqueue(f"{service}.bare", {"reply_to": "reply:ready"}, task_queue.Envelope())
        assert queue_redis().blpop(["reply:ready"], timeout=30)
        yield


@contextmanager
def process(module: str, *arguments: str, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    log, command = (STATE_DIR / "logs" / f"bench-{module}.log").open("ab"), [sys.executable, "-m", module, *arguments]
    environment = {**os.environ, **environ}
    with log, subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log) as running:
        try:
            yield running
        finally:
            running.terminate()
            running.wait(30)


def wait_until(ready: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, f"condition not met within {seconds:g} s"
        time.sleep(0.1)


def query(sql: str) -> int:
    database = connect()
    with database.cursor() as cursor:
        cursor.execute(sql)
        [[value]] = cursor.fetchall()
    database.close()
    return int(value)


def connect():
    connection = psycopg2.connect(
        host="127.0.0.1", port=BASE + OFFSETS["postgres"], user="coursebus", dbname="coursebus"
    )
    connection.autocommit = True
    return connection


if __name__ == "__main__":
    main()
