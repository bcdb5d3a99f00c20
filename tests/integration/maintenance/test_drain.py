"""On SIGTERM a process finishes its work or returns it to the queue."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
import requests
from celery.beat import Scheduler, Service

import celery_app
import settings
from bridge.admin.lag import consumer_lag
from core.messaging import task_queue
from core.redis import queue_redis
from ops.dev.ports import free_base, is_open
from ops.dev.readiness import is_ok
from tests.integration.bridge.event_builders import course_published, store_event
from tests.integration.operations.commands import course_message
from tests.support.databases import Database
from tests.support.gateway import running_worker
from tests.support.polling import eventually

pytestmark = pytest.mark.processes

COMMANDS = 300
EVENTS = 60  # few enough to be handled within the drain timeout of the bridge
WORKER = ["workers"]


class Process:
    """A process of the platform on the database and topics of the test."""

    def __init__(self, database: Database, *command: str, **environ: str) -> None:
        environment = os.environ | {
            "DATABASE_URL": database.url,
            "KAFKA_TOPIC_PREFIX": settings.KAFKA_TOPIC_PREFIX,
            "KAFKA_PARTITIONS": str(settings.KAFKA_PARTITIONS),
            "SERVICE": "courses",
            **environ,
        }
        self._process = subprocess.Popen([sys.executable, "-m", *command], cwd=settings.ROOT, env=environment)

    def terminate(self) -> int:
        """Send SIGTERM; return the exit status when the process has ended."""
        self.ask_to_stop()
        return self.wait()

    def ask_to_stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        return self._process.wait(30)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def processes() -> Iterator[list[Process]]:
    running: list[Process] = []
    yield running
    for process in running:
        process.kill()


def test_worker_finishes_started_tasks_and_requeues_the_rest(database: Database, processes: list[Process]):
    for _ in range(COMMANDS):
        task_queue.enqueue("courses.create_course", course_message(), task_queue.Envelope())
    worker = Process(database, *WORKER)
    processes.append(worker)
    eventually(lambda: database.count("courses.courses") > 20, "the first courses")

    assert worker.terminate() == 0

    done, waiting = database.count("courses.courses"), queue_redis().llen("courses")
    assert done < COMMANDS
    assert (done + waiting, queue_redis().hlen("unacked:courses")) == (COMMANDS, 0)


def test_worker_that_waits_for_a_provider_stops_in_time(database: Database, processes: list[Process]):
    job = "payments.fetch_undelivered_events"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        addresses = {"STRIPE_API_URL": url, "YOOKASSA_API_URL": url}
        worker = Process(database, *WORKER, SERVICE="payments", WORKER_STOP_SECONDS="3", **addresses)
        processes.append(worker)
        task_queue.enqueue(job, {}, task_queue.Envelope())
        silent.settimeout(30)
        connection, _ = silent.accept()
        with connection:
            stopped_at = time.monotonic()
            assert worker.terminate() == 0

    assert time.monotonic() - stopped_at < 10
    assert (queue_redis().llen("payments"), queue_redis().hlen("unacked:payments")) == (1, 0)


def test_bridge_waits_for_handlers_and_commits_offsets(database: Database, topics: str, processes: list[Process]):
    for _ in range(EVENTS):
        store_event(course_published(), uuid4(), published_ago=None)
    with running_worker("progress", "payments"):
        bridge = Process(database, "bridge")
        processes.append(bridge)
        handled = "SELECT count(*) FROM bus.inbox WHERE handler = 'progress.upsert_outline'"
        eventually(lambda: database.value(handled), "the first events", seconds=60)

        assert bridge.terminate() == 0

    partitions = consumer_lag("progress")
    assert database.value(handled) == sum(
        partition.committed for partition in partitions if partition.topic == f"{topics}courses"
    )


def test_gateway_answers_accepted_requests_before_exit(database: Database, processes: list[Process]):
    base = free_base()
    gateway = Process(database, "gunicorn", "wsgi:app", "-c", "ops/gunicorn.py", PORT_BASE=str(base))
    processes.append(gateway)
    url = f"http://127.0.0.1:{base}"
    eventually(lambda: is_ok(f"{url}/livez"), "the gateway")
    with ThreadPoolExecutor(1) as client, requests.Session() as idle:
        idle.get(f"{url}/livez", timeout=30)
        request = client.submit(requests.get, f"{url}/v1/courses/{uuid4()}", timeout=30)
        eventually(lambda: queue_redis().llen("courses"), "the request in its queue")
        gateway.ask_to_stop()
        eventually(lambda: not is_open(base), "the end of accepting")
        # The client may have sent it before it could know that the gateway stops.
        late = idle.get(f"{url}/livez", timeout=30)
        with running_worker("courses"):
            assert request.result().status_code == 404  # the response of the worker, not an error of the connection

    assert (late.status_code, late.headers["Connection"]) == (200, "close")
    assert gateway.wait() == 0


def test_beat_stops_on_sigterm(database: Database, processes: list[Process]):
    beat = Process(database, "beat", SERVICE="beat")
    processes.append(beat)
    eventually(lambda: queue_redis().llen("courses"), "the first hint")
    assert beat.terminate() == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_beat_stops_on_sigterm_within_destructor(monkeypatch: pytest.MonkeyPatch):
    class Garbage:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)  # Python ignores what the signal handler raises here

    class SignalingScheduler(Scheduler):
        def tick(self) -> float:
            Garbage()
            return 0.01

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        Service(celery_app.celery_app, scheduler_cls=SignalingScheduler).start()  # must return
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
