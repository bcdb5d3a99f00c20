"""Wait until servers accept connections and the gateway is ready."""

import time
from collections.abc import Callable
from urllib.error import URLError
from urllib.request import urlopen

import psycopg2

POLL_SECONDS = 0.05


def wait(is_ready: Callable[[], bool], what: str, timeout_seconds: float) -> None:
    """Return as soon as ``ready()`` is true. Raises TimeoutError, which names ``what``."""
    deadline = time.monotonic() + timeout_seconds
    while not is_ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} was not ready within {timeout_seconds:g} s")
        time.sleep(POLL_SECONDS)


def accepts_sessions(port: int) -> bool:
    """Return whether the embedded PostgreSQL accepts sessions; its port is open before that."""
    try:
        psycopg2.connect(host="127.0.0.1", port=port, user="coursebus", dbname="coursebus").close()
    except psycopg2.OperationalError:
        return False
    return True


def is_ok(url: str) -> bool:
    """Return whether ``url`` responds with status 200."""
    try:
        with urlopen(url, timeout=2) as response:  # noqa: S310 a local address
            return bool(response.status == 200)  # noqa: PLR2004 HTTP status OK
    except (URLError, OSError):
        return False
