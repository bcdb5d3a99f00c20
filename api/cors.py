"""CORS: browsers may call the API from the origins in CORS_ORIGINS.

Access-Control-Allow-Credentials is never sent: the API uses no cookies, scripts send the token explicitly.
"""

from flask import Flask, Response, request

import settings

_SENT = (
    "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, Prefer, traceparent, "
    "X-Request-Id"
)
_SHOWN = (
    "ETag, Idempotent-Replayed, Link, Location, Preference-Applied, RateLimit, RateLimit-Policy, Retry-After, "
    "X-Request-Id"
)
_KEPT_SECONDS = 600  # how long a browser caches the preflight response


def add_to(app: Flask) -> None:
    """Add CORS headers to the responses of ``app``."""
    app.after_request(_share)


def _share(response: Response) -> Response:
    if not settings.CORS_ORIGINS:
        return response
    everybody = "*" in settings.CORS_ORIGINS
    if not everybody:
        response.vary.add("Origin")
    origin = request.headers.get("Origin")
    if origin is None or not (everybody or origin in settings.CORS_ORIGINS):
        return response
    response.headers["Access-Control-Allow-Origin"] = "*" if everybody else origin
    response.headers["Access-Control-Expose-Headers"] = _SHOWN
    if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
        response.headers["Access-Control-Allow-Methods"] = ", ".join(sorted(response.allow))
        response.headers["Access-Control-Allow-Headers"] = _SENT
        response.headers["Access-Control-Max-Age"] = str(_KEPT_SECONDS)
    return response
