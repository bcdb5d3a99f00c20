"""Processes of a killed test run do not survive it."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ops.dev import __main__ as dev
from ops.dev.child_process import popen_with_parent
from ops.dev.ports import free_base, is_open
from ops.dev.stack import NotReady, Stack
from settings import ROOT
from tests.support import environment
from tests.support.polling import eventually, run_concurrently

pytestmark = pytest.mark.processes

_START_STACK_SCRIPT = """
import sys, time
from pathlib import Path
from ops.dev.stack import NotReady, Stack
stack = Stack(Path(sys.argv[1]), int(sys.argv[2]), only=["cache"], detached=sys.argv[3] == "outlives")
stack.start()
print("up", flush=True)
time.sleep(60)
"""


def kill_stack_starter(state_dir: Path, base: int, how: str) -> None:
    command = [sys.executable, "-c", _START_STACK_SCRIPT, str(state_dir), str(base), how]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment.PLATFORM_ENVIRON, stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout
        assert starter.stdout.readline() == "up\n"
        starter.kill()


def test_stack_stops_when_its_starter_is_killed(tmp_path):
    base = free_base()
    kill_stack_starter(tmp_path, base, "ends")
    stack = Stack(tmp_path, base, only=["cache"], environ=environment.PLATFORM_ENVIRON)
    assert is_open(stack.port("cache"))
    eventually(lambda: not stack.orphans(), "the end of all processes")


def test_child_process_survives_its_starting_thread():
    (child,) = run_concurrently(lambda: popen_with_parent(["sleep", "60"]))
    with child:
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.5)
        child.kill()


def test_detached_stack_survives_its_starter(tmp_path):
    base = free_base()
    kill_stack_starter(tmp_path, base, "outlives")
    stack = Stack(tmp_path, base, only=["cache"], environ=environment.PLATFORM_ENVIRON)
    assert stack.pid("cache")
    stack.reset()


def test_process_that_is_not_ready_is_named_and_started_later(tmp_path):
    stack = Stack(tmp_path, free_base(), only=["queue", "cache"], environ=environment.PLATFORM_ENVIRON)
    stack.start_seconds = 0
    is_ready, stack._is_ready = stack._is_ready, lambda _process: False  # noqa: SLF001 a slow machine
    with pytest.raises(NotReady) as raised:
        stack.start()

    assert "The last lines of queue:" in str(raised.value)
    assert f"{stack.supervisor.logs / 'cache'}.log" in str(raised.value)
    assert set(stack.pids()) == {"queue", "cache"}

    stack.start_seconds, stack._is_ready = 60, is_ready  # noqa: SLF001
    assert stack.start() is False  # it was already running
    stack.reset()


def test_start_continues_after_servers_were_not_ready(tmp_path):
    stack = Stack(tmp_path, free_base(), only=["queue", "flower"], environ=environment.PLATFORM_ENVIRON)
    stack._prepare = lambda: None  # noqa: SLF001 flower needs no tables
    stack.start(["queue"])
    assert set(stack.pids()) == {"queue"}

    assert stack.start() is False

    assert set(stack.pids()) == {"queue", "flower"}
    stack.reset()


def test_foreground_run_leaves_no_process_after_a_failed_start(tmp_path, monkeypatch):
    stack = Stack(tmp_path, free_base(), only=["queue"], environ=environment.PLATFORM_ENVIRON)
    monkeypatch.setattr(stack, "_is_ready", lambda _process: False)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    stack.start_seconds = 0

    with pytest.raises(SystemExit, match="All processes were stopped"):
        dev.run(stack)

    assert stack.orphans() == []
