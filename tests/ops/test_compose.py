"""The compose files: valid by their specification, and with every process that the local stack has."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops.local.processes import platform
from settings import ROOT, STATE_DIR

PATH, DEMO = ROOT / "ops" / "compose.yml", ROOT / "ops" / "demo.yml"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(PATH.read_text())["services"]
OURS = {name: service for name, service in SERVICES.items() if service.get("image") == "coursebus"}


@pytest.mark.parametrize("path", [PATH, DEMO], ids=lambda path: path.name)
def test_it_is_what_the_compose_specification_says(path: Path):
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    ran = subprocess.run(check, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stdout


def test_every_process_of_the_platform_has_its_container():
    assert {process.name for process in platform(STATE_DIR, 8000)} == set(OURS) - {"migrate"}


@pytest.mark.parametrize("name", OURS)
def test_ours_run_without_rights_on_a_read_only_root(name: str):
    service = OURS[name]

    assert service["read_only"] is True
    assert service["tmpfs"] == "/tmp"  # noqa: S108 the container's own
    assert service["cap_drop"] == ["ALL"]
    assert service["environment"]["ENVIRONMENT"] == "production"


def test_a_worker_serves_the_queue_of_its_name():
    workers = {name: service for name, service in OURS.items() if name.startswith("worker-")}

    assert {f"worker-{service['environment']['SERVICE']}" for service in workers.values()} == set(workers)


@pytest.mark.parametrize("name", sorted(set(SERVICES) - set(OURS)))
def test_what_is_not_ours_has_a_version_and_finds_its_files(name: str):
    service = SERVICES[name]

    assert service["image"].rpartition(":")[2][0] in "v0123456789"
    for volume in service.get("volumes", []):
        source = volume.partition(":")[0]
        assert not source.startswith("./") or (PATH.parent / source).exists(), source


def test_the_demo_asks_for_nothing_before_it_starts():
    text = DEMO.read_text()

    assert "${" not in text
    assert "env_file" not in text
