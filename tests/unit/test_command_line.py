"""Command lines end quietly when the reader of their output has ended."""

import os
import subprocess
import sys

import pytest

from settings import ROOT


@pytest.mark.parametrize("command", [["settings"], ["ops.vocabulary", "--count"]], ids=" ".join)
def test_closed_pipe_ends_command_without_traceback(command: list[str]):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)

    assert (done.returncode, done.stderr) == (141, "")
