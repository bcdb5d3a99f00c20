"""The gateway's numbers for Prometheus: how long each request took, by route and status.

gunicorn's processes write into files by their slot; its master adds them up and serves them (ops/gunicorn.py).
"""

import os
import time
from functools import cache

from flask import Flask, Response, g, request
from prometheus_client import CollectorRegistry, Histogram, values
from prometheus_flask_exporter import PrometheusMetrics
from prometheus_flask_exporter.multiprocess import GunicornPrometheusMetrics

from . import access

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


def add_to(app: Flask) -> None:
    """Time every request of ``app``. Before all other hooks, whose time is the request's too."""
    exporter = _exporter(app)
    app.extensions["metrics_registry"] = exporter.registry
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
    # The exporter's own histogram and counters take 4 times as long, and make a series of any method that is sent. Its
    # route for scrapes is left out too: numbers are served on METRICS_PORT, which is not published (ops/gunicorn.py).
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        # One process: a test, a bare server.
        return PrometheusMetrics(app, path=None, registry=CollectorRegistry(), export_defaults=False)
    slot = f"slot{os.environ['METRICS_SLOT']}"
    values.ValueClass = values.MultiProcessValue(lambda: slot)  # by pid, each worker that ends would leave its files
    return GunicornPrometheusMetrics(app, export_defaults=False)
