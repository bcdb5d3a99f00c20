"""One log line a request: commands, and whatever failed. Reads are only counted, but where LOG_READS is on."""

from flask import g, request

import settings
from models.log import get_logger

log = get_logger(__name__)

_READS = {"GET", "HEAD", "OPTIONS"}
_FAILED = 500
_SECRET_PARTS = {"token"}  # of routes: who has the token of a mail's link may unsubscribe its reader
_UNMATCHED_PARTS = 3  # of a path without a route: /v1/courses


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
            "url.path": _path(),
            "http.response.status_code": status,
            "event.duration": int(seconds * 1e9),
        },
    )


def _path() -> str:
    """Return the path of the request, without what is a secret in it."""
    if request.url_rule is None:  # anything may be in it: a link of a mail that was typed wrongly
        return "/".join(request.path.split("/")[:_UNMATCHED_PARTS])
    path = request.path
    for name, value in (request.view_args or {}).items():
        if name in _SECRET_PARTS:
            path = path.replace(str(value), f"<{name}>")
    return path
