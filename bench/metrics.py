"""Measure the cost of the metrics: ``python -m bench.metrics``.

The same work runs with and without metrics, alternately and in one run. The result is the CPU time of the serving
processes per request or task, which depends little on other load. The work is the cheapest possible, a cached read and
a no-op task, because the metrics add the largest share to it.
"""

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from uuid import uuid4

from bench.reads import BASE, BYTES, STATE_DIR, Subject, cpu_seconds, get, measure, served

# isort: split
import psutil

import settings
from core import cache
from core.cache import CachedView
from core.messaging import task_queue
from core.redis import queue_redis
from ops.dev.readiness import is_ok, wait
from ops.dev.stack import Stack

_NULL = subprocess.DEVNULL
WANTED = 0.03
MODULES = {"with": "bench.tasks", "without": "bench.gateway_without_metrics"}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=9)
    arguments.add_argument("--seconds", type=float, default=1.0, help="of each measurement of the gateway")
    arguments.add_argument("--tasks", type=int, default=1000, help="in each measurement of the worker")
    args = arguments.parse_args()
    stack = Stack(STATE_DIR, BASE, only=["queue", "cache"], environ=os.environ)
    try:
        stack.start()
        report("a cached course, gateway", *requests(args.rounds, args.seconds))
        report("a task that does nothing, worker", *tasks(args.rounds, args.tasks))
    finally:
        stack.reset()


def report(what: str, measured: list[float], unmeasured: list[float]) -> None:
    # Compare pairs of one round: both measurements ran under the same load.
    costs = [one / other - 1 for one, other in zip(measured, unmeasured, strict=True)]
    cost = statistics.median(costs)
    median = [statistics.median(each) for each in (measured, unmeasured)]
    print(
        f"{what}: {median[0]:.3f} ms CPU with metrics, {median[1]:.3f} without: {cost:+.1%} "
        f"(wanted: {WANTED:.0%} at most) {'met' if cost <= WANTED else 'NOT MET'}",
        flush=True,
    )


def requests(rounds: int, seconds: float) -> tuple[list[float], list[float]]:
    with ExitStack() as running:
        pair = []
        for port, app in ((BASE, "wsgi:app"), (BASE + 1, "bench.gateway_without_metrics:gateway()")):
            subject = Subject(app, port, get("/v1/courses/bench"))
            pair.append((subject, running.enter_context(served("gunicorn", app, port))))
            wait(lambda port=port: is_ok(f"http://127.0.0.1:{port}/livez"), app, timeout_seconds=20)
        cache.put(cache.course_key("bench"), CachedView(1, BYTES))
        for _ in range(rounds):
            for subject, process in pair:
                measure(subject, process, seconds)
    return pair[0][0].cpu_ms, pair[1][0].cpu_ms


def tasks(rounds: int, number: int) -> tuple[list[float], list[float]]:
    costs: dict[str, list[float]] = {"with": [], "without": []}
    for _ in range(rounds):
        for which, measured in costs.items():
            with worker(which) as process:
                before = cpu_seconds(process)
                execute_tasks(number)
                measured.append((cpu_seconds(process) - before) / number * 1000)
    return costs["with"], costs["without"]


@contextmanager
def worker(which: str) -> Iterator[psutil.Process]:
    options = ["-P", "threads", "-c", "4", "-Q", "progress", "--without-gossip", "--without-mingle"]
    command = [sys.executable, "-m", "celery", "-A", MODULES[which], "worker", *options]
    environ = os.environ | {"SERVICE": "progress"}
    with subprocess.Popen(command, cwd=settings.ROOT, env=environ, stdout=_NULL, stderr=_NULL) as running:
        try:
            execute_tasks(100)
            yield psutil.Process(running.pid)
        finally:
            running.terminate()


def execute_tasks(number: int) -> None:
    reply_to = f"reply:{uuid4()}"
    for _ in range(number):
        task_queue.enqueue("progress.noop", {}, task_queue.Envelope(reply_to=reply_to), limit=10**6)
    for _ in range(number):
        while not queue_redis().blpop([reply_to], timeout=5):
            pass  # the worker is still starting


if __name__ == "__main__":
    main()
