"""Fault injection for tests: a process that reaches the armed crash point is killed by SIGKILL.

``FAULT_INJECTION=<point>`` in the environment kills every process that reaches the point. With
``FAULT_INJECTION=armed`` the point is read from the file STATE_DIR/fault, so that a test can arm it while the processes
run; it then kills once. Production refuses the variable (settings.checks).
"""

import os
import signal

import settings

ARMED = "armed"


def crash_point(name: str, detail: str = "") -> None:
    """Kill the process if the crash point ``name`` is armed; ``detail`` distinguishes callers that share a name."""
    if settings.FAULT_INJECTION:
        _crash_if_armed({name, f"{name}: {detail}"})


def _crash_if_armed(names: set[str]) -> None:
    if settings.FAULT_INJECTION in names:
        os.kill(os.getpid(), signal.SIGKILL)
    if settings.FAULT_INJECTION != ARMED:
        return
    armed = settings.STATE_DIR / "fault"
    try:
        # An optional second line is the id of another process to kill when this one reaches the point.
        point, _, victim = armed.read_text().partition("\n")
        if point in names:
            armed.rename(armed.with_suffix(".triggered"))  # of two concurrent processes, only one succeeds
            os.kill(int(victim or os.getpid()), signal.SIGKILL)
    except FileNotFoundError:
        return
