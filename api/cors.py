"""CORS: browsers may call the API from the origins in CORS_ORIGINS.

Access-Control-Allow-Credentials is never sent: the API uses no cookies, scripts send the token explicitly.
"""

from flask import Flask, Response, request

import settings

_ALLOWED_HEADERS = (
    "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, Prefer, traceparent, "
    "X-Request-Id"
)
_EXPOSED_HEADERS = (
    "ETag, Idempotent-Replayed, Link, Location, Preference-Applied, RateLimit, RateLimit-Policy, Retry-After, "
    "X-Request-Id"
)
_PREFLIGHT_MAX_AGE_SECONDS = 600  # how long a browser caches the preflight response


def init_app(app: Flask) -> None:
    """Add CORS headers to the responses of ``app``."""
    app.after_request(_add_headers)


def _add_headers(response: Response) -> Response:
    if not settings.CORS_ORIGINS:
        return response
    any_origin = "*" in settings.CORS_ORIGINS
    if not any_origin:
        response.vary.add("Origin")
    origin = request.headers.get("Origin")
    if origin is None or not (any_origin or origin in settings.CORS_ORIGINS):
        return response
    response.headers["Access-Control-Allow-Origin"] = "*" if any_origin else origin
    response.headers["Access-Control-Expose-Headers"] = _EXPOSED_HEADERS
    if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
        response.headers["Access-Control-Allow-Methods"] = ", ".join(sorted(response.allow))
        response.headers["Access-Control-Allow-Headers"] = _ALLOWED_HEADERS
        response.headers["Access-Control-Max-Age"] = str(_PREFLIGHT_MAX_AGE_SECONDS)
    return response
