"""Configure gunicorn for the gateway; a container overrides ``--bind``."""

import gc
import itertools
import os
import shutil
import socket
from http import HTTPStatus
from typing import Any

import gunicorn.util
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector

import settings
from core.build_info import BuildInfo
from core.log import EcsLibraryFormatter
from ops.gunicorn_worker import problem_response

bind = f"127.0.0.1:{settings.PORT_BASE}"
worker_class = "ops.gunicorn_worker.DeadlineWorker"  # idle connections and incomplete requests occupy no thread
worker_connections = 2000  # per worker; further connections wait in the kernel
workers = settings.GATEWAY_PROCESSES  # the gateway mostly waits for replies of workers
# Concurrent requests per worker: one slow service with its waiting requests (28), the webhooks (6), and six for the
# other services. An idle thread costs a few kilobytes.
threads = 40
reuse_port = True  # otherwise all keep-alive connections may end up in one worker
keepalive = 75  # seconds; longer than the 60 of common load balancers, so that the load balancer closes first
graceful_timeout = 20  # seconds; twice the deadline of a synchronous command
timeout = 60  # seconds without a heartbeat of a worker; no request takes as long
limit_request_line = 8190  # the maximum of gunicorn; a longer request line is a 414
max_requests = 0  # no periodic restarts, because no memory leak is known
accesslog = None  # the gateway logs its requests itself (api/access_log.py), with more fields
logconfig_dict = {
    "formatters": {"ecs": {"()": EcsLibraryFormatter, "service": "coursebus-gateway"}},
    "handlers": {"ecs": {"class": "logging.StreamHandler", "formatter": "ecs"}},
    "root": {"level": "WARNING", "handlers": ["ecs"]},
    "loggers": {"gunicorn.error": {"level": "INFO", "handlers": ["ecs"], "propagate": False}},
}
forwarder_headers = ""  # no header of a client may set SCRIPT_NAME and thereby change the path
forwarded_allow_ips = ""  # only core/addresses.py evaluates what proxies report
control_socket_disable = True  # the supervisor starts and stops gunicorn

# The directory in which the processes share their metrics with the master.
_METRICS = settings.STATE_DIR / "metrics" / str(os.getpid())

_CODES = {414: "uri_too_long", 431: "headers_too_large"}


def write_problem(sock: socket.socket, status: int, reason: str, message: str) -> None:  # noqa: ARG001 the message repeats the request
    """Reject a request that is not valid HTTP with a problem; gunicorn itself would send HTML."""
    detail = "The request is not valid HTTP, or exceeds a size limit."
    gunicorn.util.write_nonblock(sock, problem_response(HTTPStatus(status), _CODES.get(status, "malformed"), detail))


gunicorn.util.write_error = write_problem


def on_starting(server: Any) -> None:
    """Delete old metrics and load the application, whose memory the workers then share.

    Loading checks the settings: unsafe ones end the master, not the workers, which it would start again and again.

    In a container the only process always has the same id, and so the same directory of metrics.
    """
    shutil.rmtree(_METRICS, ignore_errors=True)
    _METRICS.mkdir(parents=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(_METRICS)
    os.environ["METRICS_SLOT"] = "master"
    # Not by ``preload_app``, which would load it before the directory is set. It opens no connection before the fork.
    server.app.wsgi()
    gc.collect()
    gc.freeze()  # a collection in a worker would write to the shared pages


def when_ready(server: Any) -> None:
    """Serve the metrics of all workers on METRICS_PORT, which clients cannot reach."""
    if not settings.METRICS_PORT:
        return
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(_METRICS))
    registry.register(BuildInfo())
    try:
        server.metrics, _ = start_http_server(settings.METRICS_PORT, settings.METRICS_HOST, registry)
    except OSError as error:
        server.log.warning("metrics are not served: %s", error)


def pre_fork(server: Any, worker: Any) -> None:
    """Assign the first free slot to a worker, so that it continues the metric files of an ended worker."""
    taken = {each.metrics_slot for each in server.WORKERS.values()}
    worker.metrics_slot = next(slot for slot in itertools.count() if slot not in taken)


def post_fork(server: Any, worker: Any) -> None:
    """Set the slot of the worker; only the master serves metrics."""
    if metrics := getattr(server, "metrics", None):
        metrics.socket.close()
    os.environ["METRICS_SLOT"] = str(worker.metrics_slot)


def on_exit(server: Any) -> None:  # noqa: ARG001 gunicorn's signature
    """Delete the metrics."""
    shutil.rmtree(_METRICS, ignore_errors=True)
