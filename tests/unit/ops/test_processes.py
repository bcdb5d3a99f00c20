"""The process table of the local platform."""

from pathlib import Path

import pytest

from ops.dev import processes
from settings import SERVICES


def test_every_service_has_a_worker(tmp_path: Path):
    names = {process.name for process in processes.platform(tmp_path, 8000)}

    assert {f"worker-{service}" for service in SERVICES} <= names


def test_service_without_a_metrics_port_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processes, "METRICS_OF_WORKERS", range(50, 50 + len(SERVICES) - 1))

    with pytest.raises(ValueError, match="shorter"):
        processes.platform(tmp_path, 8000)
