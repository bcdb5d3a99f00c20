"""A child that ends with its parent: nothing runs on from a test or a benchmark that was killed."""

import ctypes
import signal

_PR_SET_PDEATHSIG = 1  # prctl(2), Linux


def end_with_parent() -> None:
    """For ``preexec_fn``: have the kernel send SIGTERM when the thread that starts this process has gone."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
