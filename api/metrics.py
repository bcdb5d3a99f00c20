"""The gateway's numbers for Prometheus: how long each request took, by route and status. ``/metrics`` is for inside.

gunicorn's processes write into files by their slot (ops/gunicorn.py), and whichever is asked adds all of them up.
"""

import os
import time
from collections.abc import Callable
from functools import cache, wraps
from typing import Any

from flask import Flask, Response, g, request
from prometheus_client import CollectorRegistry, Histogram, values
from prometheus_flask_exporter import PrometheusMetrics
from prometheus_flask_exporter.multiprocess import GunicornInternalPrometheusMetrics
from werkzeug.exceptions import NotFound

from . import access
from .auth import probe

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


def add_to(app: Flask) -> None:
    """Time every request of ``app``, and answer scrapes. Before all other hooks, whose time is the request's too."""
    exporter = _exporter(app)
    seconds = Histogram(
        "coursebus_http_request_seconds",
        "From the first hook of a request to its last.",
        ["method", "route", "status"],
        buckets=_BUCKETS,
        registry=exporter.registry,
    )
    observe = cache(lambda method, route, status: seconds.labels(method, route, status).observe)

    @app.before_request
    def begin() -> None:
        g.began = time.perf_counter()

    @app.after_request
    def count(response: Response) -> Response:
        # Whoever asks for paths and methods that are not there must not make a series of each.
        route = request.url_rule.rule if request.url_rule else "none"
        method = request.method if request.method in _METHODS else "other"
        seconds = time.perf_counter() - g.began
        observe(method, route, response.status_code)(seconds)
        access.log_request(route, response.status_code, seconds)
        return response


def _exporter(app: Flask) -> PrometheusMetrics:
    # The exporter's own histogram and counters take 4 times as long, and make a series of any method that is sent.
    options = {"export_defaults": False, "metrics_decorator": inside}
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return PrometheusMetrics(app, registry=CollectorRegistry(), **options)  # one process: a test, a bare server
    slot = f"slot{os.environ['METRICS_SLOT']}"
    values.ValueClass = values.MultiProcessValue(lambda: slot)  # by pid, each worker that ends would leave its files
    return GunicornInternalPrometheusMetrics(app, **options)


def inside(view: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse what has come through a proxy: that is from outside."""

    @wraps(view)
    def guarded() -> Any:
        if "X-Forwarded-For" in request.headers or "Forwarded" in request.headers:
            raise NotFound
        return view()

    return probe(guarded)
