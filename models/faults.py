"""Fault injection for tests: a process that reaches the armed crash point is killed by SIGKILL.

``FAULT=<point>`` in the environment kills every process that reaches the point. With ``FAULT=armed`` the point is read
from the file STATE_DIR/fault, so that a test can arm it while the processes run; it then kills once. Production
refuses the variable (settings.refuse_unsafe_production).
"""

import os
import signal

import settings

ARMED = "armed"


def reach(point: str, of: str = "") -> None:
    """Kill the process if ``point`` is armed; ``of`` distinguishes callers that share a point (``<point>: <of>``)."""
    if settings.FAULT:
        _reach({point, f"{point}: {of}"})


def _reach(names: set[str]) -> None:
    if settings.FAULT in names:
        os.kill(os.getpid(), signal.SIGKILL)
    if settings.FAULT != ARMED:
        return
    armed = settings.STATE_DIR / "fault"
    try:
        # An optional second line is the id of another process to kill when this one reaches the point.
        point, _, victim = armed.read_text().partition("\n")
        if point in names:
            armed.rename(armed.with_suffix(".struck"))  # of two concurrent processes, only one succeeds
            os.kill(int(victim or os.getpid()), signal.SIGKILL)
    except FileNotFoundError:
        return
