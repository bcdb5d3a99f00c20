"""If a server is unreachable, ``python -m bridge`` prints one line without traceback and exits with status 1."""

import os
import subprocess
import sys

import pytest

import settings

CLOSED = "127.0.0.1:9"


@pytest.mark.parametrize("command", [[], ["dead-letters", "list"], ["jobs", "list"], ["quarantine", "list"]], ids=str)
def test_unreachable_database_is_reported_with_its_setting(command: list[str]):
    environ = {"DATABASE_URL": f"postgresql+psycopg2://coursebus:s3cret@{CLOSED}/coursebus"}

    status, lines = run(command, environ)

    assert status == 1
    [line] = [line for line in lines if not line.startswith("{")]  # the log of the bridge is JSON
    assert line.startswith("PostgreSQL cannot be reached")
    assert "DATABASE_URL" in line
    assert "s3cret" not in line


def test_unreachable_kafka_is_reported_with_its_setting():
    status, lines = run(["lag"], {"KAFKA_BOOTSTRAP_SERVERS": CLOSED})

    assert status == 1
    [line] = [line for line in lines if "|" not in line]  # librdkafka writes additional lines
    assert line.startswith(f"Kafka cannot be reached ({CLOSED}: ")
    assert "KAFKA_BOOTSTRAP_SERVERS" in line


def run(command: list[str], environ: dict[str, str]) -> tuple[int, list[str]]:
    """Run ``python -m bridge`` in this environment; return its exit status and the lines of its standard error."""
    completed = subprocess.run(
        [sys.executable, "-m", "bridge", *command],
        cwd=settings.ROOT,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return completed.returncode, completed.stderr.splitlines()
