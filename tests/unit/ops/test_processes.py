"""The process table of the local platform."""

import re
from pathlib import Path

import pytest

from ops.dev import processes
from settings import SERVICES


def test_every_service_has_a_worker():
    names = {process.name for process in processes.platform(8000)}

    assert {f"worker-{service}" for service in SERVICES} <= names


def test_each_process_logs_in_to_the_local_database_as_its_role(tmp_path: Path):
    logins = {
        process.name: re.findall(r'DATABASE_URL="postgresql://(\w+)@', process.environ)
        for process in processes.enabled_processes(tmp_path, 8000, {})
        if process.name.startswith("worker-") or process.name == "bridge"
    }

    assert logins == {name: [f"coursebus_{name.removeprefix('worker-')}"] for name in logins}
    assert len(logins) == len(SERVICES) + 1


def test_service_without_a_metrics_port_is_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processes, "METRICS_OF_WORKERS", range(50, 50 + len(SERVICES) - 1))

    with pytest.raises(ValueError, match="shorter"):
        processes.platform(8000)


def test_further_workers_have_their_own_names_and_ports():
    started = {each.name: each for each in processes.platform(8000, "progress=3, courses=2")}
    further = [started[name] for name in ("worker-progress-2", "worker-progress-3", "worker-courses-2")]

    assert [re.findall(r'"(\w+)"', each.environ)[:2] for each in further] == [
        ["progress", "2"],
        ["progress", "3"],
        ["courses", "2"],
    ]
    assert [each.database_role for each in further] == ["coursebus_progress"] * 2 + ["coursebus_courses"]
    ports = [each.metrics for each in started.values() if each.metrics]
    assert len(set(ports)) == len(ports)


@pytest.mark.parametrize("value", ["progress", "progress=0", "unknown=2", "progress=two", "progress=6"])
def test_invalid_number_of_workers_is_refused(value: str):
    with pytest.raises(SystemExit, match="WORKER_PROCESSES"):
        processes.platform(8000, value)
