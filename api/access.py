"""One log line a request: commands, and whatever failed. Reads are only counted, but where LOG_READS is on."""

from flask import g, request

import settings
from models.log import get_logger

log = get_logger(__name__)

_READS = {"GET", "HEAD", "OPTIONS"}
_FAILED = 500


def log_request(route: str, status: int, seconds: float) -> None:
    """Write the line. No query: it may hold what somebody searched for."""
    if request.method in _READS and status < _FAILED and not settings.LOG_READS:
        return  # nothing else is as frequent, and nobody looks for it
    caller = g.get("caller")
    log.info(
        "request",
        route=route,
        **{
            "user.id": caller and caller.sub,
            "http.request.method": request.method,
            "url.path": request.path,
            "http.response.status_code": status,
            "event.duration": int(seconds * 1e9),
        },
    )
