"""Health and metrics of a process at METRICS_PORT: ``/livez``, ``/readyz`` and, at every other path, the metrics.

``/livez`` asks no other server: restarting a process would not help if PostgreSQL is down. ``/readyz`` asks each server
that the process cannot work without.
"""

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import REGISTRY, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

import settings

from .build_info import BuildInfo
from .log import get_logger

log = get_logger(__name__)
REGISTRY.register(BuildInfo())

DEADLINE_SECONDS = 2.0

Check = Callable[[], object]  # raises an exception, or returns False, if it fails


class _Probe:
    """A check with a deadline. A server that does not answer occupies one thread at most."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._has_passed = False

    def passes(self) -> bool:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._has_passed = False
                self._thread = threading.Thread(target=self._run, name="health", daemon=True)
                self._thread.start()
            thread = self._thread
        thread.join(DEADLINE_SECONDS)
        return not thread.is_alive() and self._has_passed

    def _run(self) -> None:
        try:
            self._has_passed = self._check() is not False
        except Exception as error:  # noqa: BLE001 a driver may raise anything
            log.warning("a health check failed", reason=str(error))


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 the name in the base class
        """Log no request: probes and scrapes arrive every few seconds."""


def serve(*, liveness: Mapping[str, Check] | None = None, readiness: Mapping[str, Check] | None = None) -> None:
    """Serve at METRICS_PORT, if it is set. Call this after any fork: metrics belong to one process."""
    if not settings.METRICS_PORT:
        return
    application = create_app(liveness=liveness or {}, readiness=readiness or {})
    address = (settings.METRICS_HOST, settings.METRICS_PORT)
    try:
        server = make_server(*address, application, ThreadingWSGIServer, _QuietHandler)
    except OSError as error:
        # A process without metrics still does its work.
        log.warning("metrics are not served", port=settings.METRICS_PORT, reason=str(error))
        return
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()


def create_app(*, liveness: Mapping[str, Check], readiness: Mapping[str, Check]) -> Callable[..., Iterable[bytes]]:
    """Return the WSGI application; the keys of the checks appear in its responses."""
    metrics: Callable[..., Iterable[bytes]] = make_wsgi_app()
    probes = {
        "/livez": ("alive", "not_alive", {name: _Probe(check) for name, check in liveness.items()}),
        "/readyz": ("ready", "not_ready", {name: _Probe(check) for name, check in readiness.items()}),
    }

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] not in probes:
            return metrics(environ, start_response)
        passed, failed, checks = probes[environ["PATH_INFO"]]
        results = {name: probe.passes() for name, probe in checks.items()}
        is_passed = all(results.values())
        status = HTTPStatus.OK if is_passed else HTTPStatus.SERVICE_UNAVAILABLE
        start_response(f"{status:d} {status.phrase}", [("Content-Type", "application/json")])
        body = {
            "status": passed if is_passed else failed,
            "version": settings.COURSEBUS_VERSION,
            "checks": {name: "up" if result else "down" for name, result in results.items()},
        }
        return [json.dumps(body).encode()]

    return application
