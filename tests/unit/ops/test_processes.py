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
