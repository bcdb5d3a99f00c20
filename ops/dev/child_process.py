"""Start child processes that end with their parent, so that none survives a killed test or benchmark."""

import ctypes
import signal
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

_PR_SET_PDEATHSIG = 1  # prctl(2), Linux
# The kernel sends the signal when the thread that started the child ends. This thread lives as long as the process.
_LAUNCHER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="launcher")


def popen_with_parent(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start ``command`` with the ``options`` of Popen; the kernel sends it SIGTERM when this process ends."""

    def launch() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, preexec_fn=_die_with_parent, **options)  # noqa: PLW1509 the function makes one system call

    return _LAUNCHER.submit(launch).result()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
