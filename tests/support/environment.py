"""What a test run sets before anything reads it as ``settings``: ports, a directory, databases of its own.

A variable that is given points at a server that is there (DATABASE_URL, REDIS_URL …), and such a server is not started.
A given PORT_BASE is kept; what listens there already is used.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from uuid import uuid4

from ops.dev.ports import OFFSETS, free_base

_BEFORE = dict(os.environ)

os.environ.setdefault(
    "RATE_LIMITS", "off"
)  # a whole run comes from one address; tests/api/test_rate_limits.py has them on
# What the platform's own processes inherit: crash points that tests/chaos can arm, and short leases, so that what a
# killed process had in hand is taken up within the time of a test.
PLATFORM_ENVIRON = {
    "FAULT_INJECTION": "armed",
    "EMAIL_LEASE_SECONDS": "12",
    "IDEMPOTENCY_LEASE_SECONDS": "6",
    "VISIBILITY_TIMEOUT_SECONDS": "12",
    "COMMAND_TIMEOUT_SECONDS": "5",
    "WATCHDOG_SECONDS": "2",
    "KAFKA_FETCH_WAIT_MS": "100",  # the embedded brokers of a run at rest would take half a core otherwise
    "WEBHOOK_TIMEOUT_SECONDS": "2",
    "WEBHOOK_RETRY_DELAYS_SECONDS": "1,600",
    "WEBHOOK_ENDPOINTS_MAX": "12",
    **os.environ,
}
RUN = f"tests_{uuid4().hex[:8]}"  # in the name of every database that this run makes

PORT_BASE = int(PLATFORM_ENVIRON.get("PORT_BASE") or free_base())
PLATFORM_ENVIRON.setdefault("TEST_CLOCK_URL", f"http://127.0.0.1:{PORT_BASE + OFFSETS['clock']}")
STATE_DIR = Path(tempfile.mkdtemp(prefix="coursebus-tests-"))
STATE_DIR.chmod(0o711)  # PostgreSQL, which does not run as root, walks through it
atexit.register(shutil.rmtree, STATE_DIR, ignore_errors=True)


def _platform_setting(name: str, default: str) -> str:
    return PLATFORM_ENVIRON.get(name, "").strip() or default


SERVER_URL = _platform_setting(
    "DATABASE_URL", f"postgresql+psycopg2://coursebus@127.0.0.1:{PORT_BASE + OFFSETS['postgres']}/coursebus"
)

os.environ.update(
    PORT_BASE=str(PORT_BASE),
    STATE_DIR=str(STATE_DIR),
    DATABASE_URL=f"{SERVER_URL.rpartition('/')[0]}/{RUN}_plain",
    # Database 1 of the Redis servers: the platform's own workers look into 0.
    REDIS_URL=_platform_setting("REDIS_URL", f"redis://127.0.0.1:{PORT_BASE + OFFSETS['queue']}/1"),
    CACHE_URL=_platform_setting("CACHE_URL", f"redis://127.0.0.1:{PORT_BASE + OFFSETS['cache']}/1"),
)


def restore_environment() -> None:
    """Take back what was set here: the processes that run the tests in our place set it for themselves."""
    os.environ.clear()
    os.environ.update(_BEFORE)
