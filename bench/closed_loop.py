"""Measure commands in a closed loop with all the work that they leave behind: ``python -m bench.closed_loop``.

Each of N clients sends its next command when the previous one is answered: completions of lessons or enrolments, each
for the first time, or purchases of courses until the buyer has access. Prints operations per second, refusals by
status, the age of the oldest event that a handler has not processed, and the CPU time of each process per operation
until all queues are empty.

Starts a stack of its own. ``--running`` uses the stack of PORT_BASE and STATE_DIR, which needs RATE_LIMITS=off.
``--url`` and ``--auth0`` measure a gateway anywhere: without CPU times and events.
"""

import argparse
import json
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import requests

import settings
from bench.clients import Client, create_courses
from bench.stack_load import StackLoad
from bench.targets import report
from ops.dev.ports import OFFSETS, free_base
from ops.dev.stack import Stack

# Courses, and lessons of each: enough operations per learner that signing up is no part of the measurement.
SHAPES = {"completions": (4, 40), "enrolments": (60, 1), "purchases": (20, 1)}
PRICE_MINOR = {"purchases": 4900}  # of a course; others are free
PARTS = ("gateway", "auth0")  # that the clients call
WANTED_PER_SECOND = {"completions": 150, "enrolments": 120, "purchases": 3.5}
WANTED_CPU_MS = {"completions": 12, "enrolments": 20, "purchases": 500}
ACCESS_POLL_SECONDS = 0.5
ACCESS_SECONDS = 30


@dataclass
class Result:
    """What the clients have seen."""

    milliseconds: list[float] = field(default_factory=list)
    refused: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0


def run(operations: list[list[Callable[[], int]]], seconds: float) -> Result:
    """Run each list of operations in a thread until it ends or ``seconds`` are over."""
    result, began = Result(), time.monotonic()

    def work(todo: list[Callable[[], int]]) -> None:
        for operation in todo:
            sent = time.monotonic()
            if sent > began + seconds:
                return
            status = operation()
            if 200 <= status < 300:
                result.milliseconds.append((time.monotonic() - sent) * 1000)
            else:
                result.refused[status] += 1

    with ThreadPoolExecutor(len(operations)) as pool:
        for future in [pool.submit(work, todo) for todo in operations]:
            future.result()
    result.seconds = time.monotonic() - began
    return result


def operations(clients: list[list[Client]], courses: dict[str, list[str]], what: str) -> list[list[Callable[[], int]]]:
    """Return the operations of each thread: those of its learners, one after the other."""

    def enrol(learner: Client, course: str) -> int:
        return learner.send("POST", f"/v1/courses/{course}/enrollments", {})[0]

    def complete(learner: Client, course: str, lesson: str) -> int:
        return learner.send("PUT", f"/v1/courses/{course}/lessons/{lesson}/completion")[0]

    def buy(learner: Client, course: str) -> int:
        wanted = {"course_id": course, "provider": "stripe"}
        status, checkout = learner.send("POST", "/v1/checkouts", wanted, {"Idempotency-Key": uuid4().hex})
        if not 200 <= status < 300:
            return status
        requests.post(checkout["redirect_url"], data={"outcome": "succeed"}, timeout=20).raise_for_status()
        until = time.monotonic() + ACCESS_SECONDS
        while time.monotonic() < until:
            time.sleep(ACCESS_POLL_SECONDS)
            status, answer = learner.send("GET", f"/v1/me/courses/{course}/access")
            if status == 200 and answer["access"]:
                return 200
        return 408

    if what == "purchases":
        return [[partial(buy, *each) for each in product(learners, courses)] for learners in clients]
    if what == "enrolments":
        return [[partial(enrol, *each) for each in product(learners, courses)] for learners in clients]
    return [
        [partial(complete, learner, *each) for learner in learners for each in _pairs(courses)] for learners in clients
    ]


def _pairs(courses: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(course, lesson) for course, lessons in courses.items() for lesson in lessons]


def prepare(args: argparse.Namespace) -> list[list[Callable[[], int]]]:
    """Publish the courses and sign up the learners; enrol them if they are to complete lessons."""
    number, lessons = SHAPES[args.operation]
    courses = create_courses(
        Client(args.url, args.auth0, "instructor@demo.test"), number, lessons, PRICE_MINOR.get(args.operation, 0)
    )

    def sign_up(_: int) -> list[Client]:
        learners = [Client(args.url, args.auth0) for _ in range(args.learners)]
        for learner in learners:
            learner.require("GET", "/v1/me")
            for course in courses if args.operation == "completions" else ():
                learner.require("POST", f"/v1/courses/{course}/enrollments", {})
                learner.require("GET", f"/v1/courses/{course}/progress")
        return learners

    with ThreadPoolExecutor(args.clients) as pool:
        return operations(list(pool.map(sign_up, range(args.clients))), courses, args.operation)


def measure(args: argparse.Namespace, load: StackLoad | None) -> dict[str, Any]:
    """Run the loop; return its result as JSON values."""
    todo = prepare(args)
    if load is None:
        return summary(args, run(todo, args.seconds))
    load.wait_until_idle()
    before = load.cpu_seconds()
    with load.sampling():
        result = run(todo, args.seconds)
    drained = load.wait_until_idle()
    done = max(len(result.milliseconds), 1)
    cpu = {name: (now - before.get(name, 0.0)) * 1000 / done for name, now in load.cpu_seconds().items()}
    return summary(args, result) | {
        "oldest_event_p95_seconds": round(percentile(load.ages, 95), 2),
        "drained_after_seconds": round(drained, 1),
        "cpu_ms_per_operation": round(sum(cpu.values()), 2),
        "cpu_ms_by_process": {name: round(ms, 2) for name, ms in sorted(cpu.items(), key=lambda item: -item[1])},
    }


def summary(args: argparse.Namespace, result: Result) -> dict[str, Any]:
    """Return what the clients have seen as JSON values."""
    return {
        "operation": args.operation,
        "clients": args.clients,
        "done": len(result.milliseconds),
        "per_second": round(len(result.milliseconds) / result.seconds, 1),
        "p50_ms": round(percentile(result.milliseconds, 50), 1),
        "p95_ms": round(percentile(result.milliseconds, 95), 1),
        "refused": dict(result.refused),
    }


def percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1] if len(values) > 1 else sum(values)


def print_result(result: dict[str, Any]) -> None:
    """Print the result, and whether the targets are met."""
    what = result["operation"]
    for name, value in result.items():
        shown = ", ".join(f"{key} {each}" for key, each in value.items()) if isinstance(value, dict) else value
        print(f"{name}: {shown or 'none'}")
    report(f"{what} a second, {result['clients']} clients", result["per_second"], WANTED_PER_SECOND[what])
    report(f"{what} refused", sum(result["refused"].values()), 0, at_most=True)
    if "cpu_ms_per_operation" in result:
        report(f"{what}: CPU ms of all processes", result["cpu_ms_per_operation"], WANTED_CPU_MS[what], at_most=True)
        report(f"{what}: age of the oldest event, s, p95", result["oldest_event_p95_seconds"], 2, at_most=True)


@contextmanager
def observed(args: argparse.Namespace) -> Iterator[StackLoad | None]:
    """Yield the load of the stack that is measured; None for a gateway elsewhere. Set args.url and args.auth0."""
    if args.url:
        yield None
        return
    with TemporaryDirectory(prefix="coursebus-bench-") as directory:
        if args.running:
            stack = Stack(settings.STATE_DIR, settings.PORT_BASE)
        else:
            stack = Stack(Path(directory), free_base(), environ={**os.environ, "RATE_LIMITS": "off"})
        try:
            if not args.running:
                stack.start()
            args.url, args.auth0 = (f"http://127.0.0.1:{stack.port_base + OFFSETS[each]}" for each in PARTS)
            yield StackLoad(stack)
        finally:
            if not args.running:
                stack.reset()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("operation", choices=SHAPES)
    arguments.add_argument("--clients", type=int, default=16)
    arguments.add_argument("--learners", type=int, default=2, help="of each client; the run ends when all are done")
    arguments.add_argument("--seconds", type=float, default=20)
    arguments.add_argument("--running", action="store_true", help="measure the stack of PORT_BASE and STATE_DIR")
    arguments.add_argument("--url", help="measure the gateway at this URL")
    arguments.add_argument("--auth0", help="URL that issues tokens for --url")
    arguments.add_argument("--json", action="store_true")
    args = arguments.parse_args()
    with observed(args) as load:
        result = measure(args, load)
    print(json.dumps(result, indent=2)) if args.json else print_result(result)


if __name__ == "__main__":
    main()
