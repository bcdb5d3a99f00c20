"""A process is ready while every server that it needs answers in time, and alive also without them."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

import beat
from core import health


def respond(path: str, **checks: Mapping[str, health.Check]) -> tuple[str, Any]:
    """Return the status and the body of a response."""
    app = health.create_app(liveness=checks.get("liveness", {}), readiness=checks.get("readiness", {}))
    statuses: list[str] = []
    environ = {"PATH_INFO": path, "REQUEST_METHOD": "GET", "QUERY_STRING": ""}
    body = b"".join(app(environ, lambda status, _headers: statuses.append(status)))
    return statuses[0], json.loads(body) if path != "/metrics" else body.decode()


def refuse() -> None:
    raise ConnectionRefusedError


def test_metrics_name_the_version():
    assert 'coursebus_build_info{revision="",version="development"} 1.0' in respond("/metrics")[1]


def test_ready_process_names_its_servers():
    assert respond("/readyz", readiness={"postgres": lambda: None, "queue": lambda: True}) == (
        "200 OK",
        {"status": "ready", "version": "development", "checks": {"postgres": "up", "queue": "up"}},
    )


@pytest.mark.parametrize("check", [refuse, lambda: False], ids=["raises", "false"])
def test_process_without_a_server_is_not_ready_but_alive(check: Callable[[], object]):
    readiness = {"postgres": check, "queue": lambda: True}

    assert respond("/readyz", readiness=readiness) == (
        "503 Service Unavailable",
        {"status": "not_ready", "version": "development", "checks": {"postgres": "down", "queue": "up"}},
    )
    assert respond("/livez", readiness=readiness)[0] == "200 OK"


def test_server_that_does_not_answer_is_down_after_the_deadline(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(health, "DEADLINE_SECONDS", 0.05)
    answering = threading.Event()
    probe = health._Probe(lambda: answering.wait(10))  # noqa: SLF001 the app has one for each check
    started = time.monotonic()

    assert [probe.passes() for _ in range(3)] == [False] * 3
    assert time.monotonic() - started < 1
    assert sum(thread.name == "health" for thread in threading.enumerate()) == 1
    answering.set()
    time.sleep(0.01)
    assert probe.passes()


def test_other_paths_are_the_metrics():
    status, body = respond("/metrics")

    assert status == "200 OK"
    assert "python_info" in body


def test_beat_that_looks_for_no_jobs_is_not_alive(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(beat.TickingScheduler, "last_tick_at", time.monotonic())
    assert beat.is_ticking()

    monkeypatch.setattr(beat.TickingScheduler, "last_tick_at", time.monotonic() - 2 * beat.TICK_SECONDS_MAX)

    assert respond("/livez", liveness={"scheduler": beat.is_ticking})[0] == "503 Service Unavailable"
