"""Access log: one line per request. Successful reads are logged only if LOG_READS is set; metrics count them anyway."""

from flask import g, request

import settings
from core.log import get_logger

log = get_logger(__name__)

_READS = {"GET", "HEAD", "OPTIONS"}
_SERVER_ERROR = 500
_SECRET_PARAMETERS = {"token"}  # path parameters that are redacted: an unsubscribe token is a credential
_UNMATCHED_SEGMENTS = 3  # logged segments of a path without a route, such as /v1/courses


def log_request(route: str, status: int, seconds: float) -> None:
    """Log the request. ``seconds`` is its duration. The query string is left out: it may contain personal data."""
    if request.method in _READS and status < _SERVER_ERROR and not settings.LOG_READS:
        return  # successful reads would be most of the log
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
    """Return the request path with secret path parameters redacted."""
    if request.url_rule is None:  # truncate: it may be a mistyped link that contains a secret token
        return "/".join(request.path.split("/")[:_UNMATCHED_SEGMENTS])
    path = request.path
    for name, value in (request.view_args or {}).items():
        if name in _SECRET_PARAMETERS:
            path = path.replace(str(value), f"<{name}>")
    return path
