"""Prometheus metrics of the gateway: request durations by method, route and status.

Each gunicorn worker writes to the files of its slot; the master aggregates and serves them (ops/gunicorn.py).
"""

import os
import time
from functools import cache

from flask import Flask, Response, g, request
from prometheus_client import CollectorRegistry, Histogram, values
from prometheus_flask_exporter import PrometheusMetrics
from prometheus_flask_exporter.multiprocess import GunicornPrometheusMetrics

from . import access_log

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


def init_app(app: Flask) -> None:
    """Measure and log every request of ``app``. Call this first, so that the time of all other hooks is included."""
    exporter = _exporter(app)
    app.extensions["metrics_registry"] = exporter.registry
    seconds = Histogram(
        "coursebus_http_request_seconds",
        "Duration of a request, from the first hook to the last.",
        ["method", "route", "status"],
        buckets=_BUCKETS,
        registry=exporter.registry,
    )
    observe = cache(lambda method, route, status: seconds.labels(method, route, status).observe)

    @app.before_request
    def begin() -> None:
        g.started_at = time.perf_counter()

    @app.after_request
    def count(response: Response) -> Response:
        # Bound the number of time series: unknown paths and methods share one label each.
        route = request.url_rule.rule if request.url_rule else "none"
        method = request.method if request.method in _METHODS else "other"
        seconds = time.perf_counter() - g.started_at
        observe(method, route, response.status_code)(seconds)
        access_log.log_request(route, response.status_code, seconds)
        return response


def _exporter(app: Flask) -> PrometheusMetrics:
    # The exporter's default metrics are off: they take four times as long and create a series for any method name. Its
    # /metrics route is off too: metrics are served on METRICS_PORT, which is not public (ops/gunicorn.py).
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        # One process: tests, or the development server.
        return PrometheusMetrics(app, path=None, registry=CollectorRegistry(), export_defaults=False)
    # By slot, because files by pid would pile up as workers restart. The master has loaded the application before a
    # worker gets its slot, so it is read at each use.
    values.ValueClass = values.MultiProcessValue(lambda: f"slot{os.environ['METRICS_SLOT']}")
    return GunicornPrometheusMetrics(app, export_defaults=False)
