"""Crash points, for tests: whoever reaches the armed one is killed there, without a goodbye.

``FAULT=<point>`` in the environment kills every process that gets there. With ``FAULT=armed`` the point is looked up in
the file STATE_DIR/fault, so that it can be armed while the processes run; there it strikes once. Production refuses
the variable (settings.refuse_unsafe_production).
"""

import os
import signal

import settings

ARMED = "armed"


def reach(point: str, of: str = "") -> None:
    """Die here if ``point`` is armed, or ``point: of`` where many pass it."""
    if settings.FAULT:
        _reach({point, f"{point}: {of}"})


def _reach(names: set[str]) -> None:
    if settings.FAULT in names:
        os.kill(os.getpid(), signal.SIGKILL)
    if settings.FAULT != ARMED:
        return
    armed = settings.STATE_DIR / "fault"
    try:
        # The second line names another process to be killed when this one gets here.
        point, _, victim = armed.read_text().partition("\n")
        if point in names:
            armed.rename(armed.with_suffix(".struck"))  # of two that are here at once, one finds it
            os.kill(int(victim or os.getpid()), signal.SIGKILL)
    except FileNotFoundError:
        return
