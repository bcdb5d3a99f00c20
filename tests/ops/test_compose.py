"""The compose files are valid and contain every process of the local stack."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops.dev.processes import platform
from settings import ROOT, STATE_DIR

pytestmark = pytest.mark.unit

PATH, DEMO = ROOT / "ops" / "compose.yml", ROOT / "ops" / "demo.yml"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(PATH.read_text())["services"]
OWN_SERVICES = {name: service for name, service in SERVICES.items() if service.get("image") == "coursebus"}


@pytest.mark.parametrize("path", [PATH, DEMO], ids=lambda path: path.name)
def test_compose_file_matches_specification(path: Path):
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    completed = subprocess.run(check, capture_output=True, text=True, check=False)

    assert completed.returncode == 0, completed.stdout


def test_every_process_has_a_container():
    assert {process.name for process in platform(STATE_DIR, 8000)} == set(OWN_SERVICES) - {"migrate"}


@pytest.mark.parametrize("name", OWN_SERVICES)
def test_own_containers_are_unprivileged_and_read_only(name: str):
    service = OWN_SERVICES[name]

    assert service["read_only"] is True
    assert service["tmpfs"] == "/tmp"  # noqa: S108 private to the container
    assert service["cap_drop"] == ["ALL"]
    assert service["environment"]["ENVIRONMENT"] == "production"


def test_worker_container_serves_queue_of_its_name():
    workers = {name: service for name, service in OWN_SERVICES.items() if name.startswith("worker-")}

    assert {f"worker-{service['environment']['SERVICE']}" for service in workers.values()} == set(workers)


@pytest.mark.parametrize("name", sorted(set(SERVICES) - set(OWN_SERVICES)))
def test_third_party_images_are_pinned_and_volumes_exist(name: str):
    service = SERVICES[name]

    assert service["image"].rpartition(":")[2][0] in "v0123456789"
    for volume in service.get("volumes", []):
        source = volume.partition(":")[0]
        assert not source.startswith("./") or (PATH.parent / source).exists(), source


def test_demo_needs_no_environment_variables():
    text = DEMO.read_text()

    assert "${" not in text
    assert "env_file" not in text
