"""Environment of a test run: its own ports, directory and databases. Import it before ``settings``.

A variable such as DATABASE_URL or REDIS_URL that is already set points to a running server, and no server is started
for it. A PORT_BASE that is already set is kept, and servers that listen on its ports are used.
"""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path
from uuid import uuid4

from core.environment import normalize_database_url
from ops.dev.ports import OFFSETS, free_base

# Otherwise this process and each that it starts compile all modules again, which takes longer than most tests.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
_BEFORE = dict(os.environ)

os.environ.setdefault(
    "RATE_LIMITS", "off"
)  # all requests of a run have one address; tests/integration/api/test_rate_limits.py enables the limits
# Environment of the platform's processes: crash points that tests/chaos can arm, and short leases, so that the work of
# a killed process is taken over within the time of a test.
PLATFORM_ENVIRON = {
    "FAULT_INJECTION": "armed",
    "EMAIL_LEASE_SECONDS": "12",
    "IDEMPOTENCY_LEASE_SECONDS": "6",
    "VISIBILITY_TIMEOUT_SECONDS": "12",
    "AUDIT_EVERY_SECONDS": "20",  # the audit also measures the lag, which tests/e2e/test_monitoring.py waits for
    "COMMAND_TIMEOUT_SECONDS": "5",
    "WATCHDOG_SECONDS": "2",
    "WEBHOOK_TIMEOUT_SECONDS": "2",
    "WEBHOOK_RETRY_DELAYS_SECONDS": "1,600",
    "WEBHOOK_ENDPOINTS_MAX": "12",
    **os.environ,
}
RUN = f"tests_{uuid4().hex[:8]}"  # prefix of every database of this run

PORT_BASE = int(PLATFORM_ENVIRON.get("PORT_BASE") or free_base())
PLATFORM_ENVIRON.setdefault("TEST_CLOCK_URL", f"http://127.0.0.1:{PORT_BASE + OFFSETS['clock']}")
# Only requests that a test marks as sampled are traced; the collector runs only in that test.
COLLECTOR_PORT = PORT_BASE + OFFSETS["collector"]
PLATFORM_ENVIRON.setdefault("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{COLLECTOR_PORT}")
PLATFORM_ENVIRON.setdefault("TRACES_SAMPLED_PERCENT", "0")
PLATFORM_ENVIRON.setdefault("OTEL_BSP_SCHEDULE_DELAY", "1000")  # milliseconds; the default is 5000
STATE_DIR = Path(tempfile.mkdtemp(prefix="coursebus-tests-"))
STATE_DIR.chmod(0o711)  # PostgreSQL does not run as root and must be able to traverse it
atexit.register(shutil.rmtree, STATE_DIR, ignore_errors=True)


def _platform_setting(name: str, default: str) -> str:
    return PLATFORM_ENVIRON.get(name, "").strip() or default


SERVER_URL = normalize_database_url(
    _platform_setting("DATABASE_URL", f"postgresql://coursebus@127.0.0.1:{PORT_BASE + OFFSETS['postgres']}/coursebus")
)

os.environ.update(
    PORT_BASE=str(PORT_BASE),
    STATE_DIR=str(STATE_DIR),
    DATABASE_URL=f"{SERVER_URL.rpartition('/')[0]}/{RUN}_plain",
    # Database 1 of the Redis servers: the workers of the platform use database 0.
    REDIS_URL=_platform_setting("REDIS_URL", f"redis://127.0.0.1:{PORT_BASE + OFFSETS['queue']}/1"),
    CACHE_URL=_platform_setting("CACHE_URL", f"redis://127.0.0.1:{PORT_BASE + OFFSETS['cache']}/1"),
)


def restore_environment() -> None:
    """Restore the original environment, because the processes of xdist set their own."""
    os.environ.clear()
    os.environ.update(_BEFORE)
