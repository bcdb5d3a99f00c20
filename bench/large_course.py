"""Measure a course of many lessons: ``python -m bench.large_course``.

A completion must not become slower with the number of lessons that are done already, and a device that was offline
sends 300 completions in one batch.
"""

import os
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.clients import Client, create_courses
from bench.targets import report
from ops.dev.ports import free_base
from ops.dev.stack import Stack

BATCH = 300
COMPLETIONS = 50
LESSONS = BATCH + COMPLETIONS


def milliseconds_per_completion(learner: Client, course: str, lessons: list[str]) -> float:
    """Complete the lessons one after the other; return the median."""
    durations = []
    for lesson in lessons:
        began = time.perf_counter()
        learner.require("PUT", f"/v1/courses/{course}/lessons/{lesson}/completion")
        durations.append((time.perf_counter() - began) * 1000)
    return statistics.median(durations)


def batch(course: str, lessons: list[str]) -> dict[str, object]:
    at = datetime.now(UTC).isoformat()
    events = [{"id": each, "course_id": course, "lesson_id": each, "kind": "completed", "at": at} for each in lessons]
    return {"events": events}


def measure(url: str, auth0: str) -> None:
    [(course, lessons)] = create_courses(Client(url, auth0, "instructor@demo.test"), 1, LESSONS).items()
    learners = [Client(url, auth0) for _ in range(2)]
    for learner in learners:
        learner.require("POST", f"/v1/courses/{course}/enrollments", {})
        learner.require("GET", f"/v1/courses/{course}/progress")
    new, advanced = learners
    began = time.perf_counter()
    advanced.require("POST", "/v1/me/progress/batch", batch(course, lessons[:BATCH]))
    seconds = time.perf_counter() - began
    few = milliseconds_per_completion(new, course, lessons[:COMPLETIONS])
    many = milliseconds_per_completion(advanced, course, lessons[BATCH : BATCH + COMPLETIONS])
    print(f"completion: {few:.1f} ms with none done, {many:.1f} ms with {BATCH} done")
    report(f"completion with {BATCH} lessons done / with none", many / few, 1.1, at_most=True)
    report(f"seconds for a batch of {BATCH} completions", seconds, 0.3, at_most=True)


def main() -> None:
    with TemporaryDirectory(prefix="coursebus-bench-") as directory:
        stack = Stack(Path(directory), free_base(), environ={**os.environ, "RATE_LIMITS": "off"})
        try:
            stack.start()
            measure(*(f"http://127.0.0.1:{stack.port(each)}" for each in ("gateway", "auth0")))
        finally:
            stack.reset()


if __name__ == "__main__":
    main()
