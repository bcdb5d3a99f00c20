"""Nothing runs on from a test run that was killed."""

import subprocess
import sys
from pathlib import Path

import pytest

from ops.local.leash import leashed
from ops.local.ports import free_base, is_open
from ops.local.stack import Stack
from settings import ROOT
from tests.support import environment
from tests.support.waiting import at_once, eventually

_STARTS_AND_WAITS = """
import sys, time
from pathlib import Path
from ops.local.stack import Stack
stack = Stack(Path(sys.argv[1]), int(sys.argv[2]), only=["cache"], outlives_us=sys.argv[3] == "outlives")
stack.start()
print("up", flush=True)
time.sleep(60)
"""


def kill_whoever_starts(state_dir: Path, base: int, how: str) -> None:
    command = [sys.executable, "-c", _STARTS_AND_WAITS, str(state_dir), str(base), how]
    with subprocess.Popen(command, cwd=ROOT, env=environment.GIVEN, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout
        assert starter.stdout.readline() == "up\n"
        starter.kill()


def test_a_stack_ends_with_the_process_that_started_it(tmp_path):
    base = free_base()
    kill_whoever_starts(tmp_path, base, "ends")
    stack = Stack(tmp_path, base, only=["cache"], environ=environment.GIVEN)
    assert is_open(stack.port("cache"))
    eventually(lambda: not stack.left_overs(), "the end of everything", seconds=30)


def test_a_child_does_not_end_with_the_thread_that_started_it():
    (child,) = at_once(lambda: leashed(["sleep", "60"]))
    with child:
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.5)
        child.kill()


def test_one_that_is_to_outlive_it_goes_on(tmp_path):
    base = free_base()
    kill_whoever_starts(tmp_path, base, "outlives")
    stack = Stack(tmp_path, base, only=["cache"], environ=environment.GIVEN)
    assert stack.pid("cache")
    stack.reset()
