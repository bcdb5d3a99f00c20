"""How gunicorn serves the gateway; a container overrides ``--bind``."""

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
from core.log import EcsLibraryFormatter
from ops.gunicorn_worker import problem_response

bind = f"127.0.0.1:{settings.PORT_BASE}"
worker_class = "ops.gunicorn_worker.DeadlineWorker"  # idle connections and unfinished requests hold no thread
worker_connections = 2000  # in each worker; the rest wait in the kernel
workers = 2  # one a core of a small machine; the gateway mostly waits for workers' replies
threads = 8  # requests that wait at the same time, in each worker
reuse_port = True  # else all keep-alive connections may land on one worker
keepalive = 75  # seconds; longer than the 60 of common load balancers, so that they close first
graceful_timeout = 20  # seconds; twice the deadline of a synchronous command
timeout = 60  # seconds without a sign of life from a worker, never reached by a request
limit_request_line = 8190  # the most that it can; a longer one is a 414
max_requests = 0  # nothing leaks that a restart would have to hide
accesslog = None  # the gateway logs its requests itself (api/access_log.py), with what it knows of them
logconfig_dict = {
    "formatters": {"ecs": {"()": EcsLibraryFormatter, "service": "coursebus-gateway"}},
    "handlers": {"ecs": {"class": "logging.StreamHandler", "formatter": "ecs"}},
    "root": {"level": "WARNING", "handlers": ["ecs"]},
    "loggers": {"gunicorn.error": {"level": "INFO", "handlers": ["ecs"], "propagate": False}},
}
forwarder_headers = ""  # no header of a client becomes SCRIPT_NAME, and with it another path
forwarded_allow_ips = ""  # schemes and addresses that proxies report are read by api/addresses.py alone
control_socket_disable = True  # the supervisor starts and stops it; a second door is not needed

# Where its processes leave their numbers for the master.
_METRICS = settings.STATE_DIR / "metrics" / str(os.getpid())

_CODES = {414: "uri_too_long", 431: "headers_too_large"}


def write_problem(sock: socket.socket, status: int, reason: str, message: str) -> None:  # noqa: ARG001 the message repeats what was sent
    """Refuse with a problem what is no HTTP, before the application sees it; gunicorn itself would send HTML."""
    detail = "The request is not valid HTTP, or longer than is read."
    gunicorn.util.write_nonblock(sock, problem_response(HTTPStatus(status), _CODES.get(status, "malformed"), detail))


gunicorn.util.write_error = write_problem


def on_starting(server: Any) -> None:  # noqa: ARG001 gunicorn's signature
    """Begin with no numbers: a container's only process always has the same id."""
    shutil.rmtree(_METRICS, ignore_errors=True)
    _METRICS.mkdir(parents=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(_METRICS)


def when_ready(server: Any) -> None:
    """Serve the numbers of all workers on METRICS_PORT, apart from the port that clients reach."""
    if not settings.METRICS_PORT:
        return
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(_METRICS))
    try:
        server.metrics, _ = start_http_server(settings.METRICS_PORT, settings.METRICS_HOST, registry)
    except OSError as error:
        server.log.warning("metrics are not served: %s", error)


def pre_fork(server: Any, worker: Any) -> None:
    """Give a worker the first free slot, whose files it goes on with: by pid, each that ended would leave its own."""
    taken = {each.metrics_slot for each in server.WORKERS.values()}
    worker.metrics_slot = next(slot for slot in itertools.count() if slot not in taken)


def post_fork(server: Any, worker: Any) -> None:
    """Tell the worker its slot before it loads the application, and leave scrapes to the master."""
    if metrics := getattr(server, "metrics", None):
        metrics.socket.close()
    os.environ["METRICS_SLOT"] = str(worker.metrics_slot)


def on_exit(server: Any) -> None:  # noqa: ARG001 gunicorn's signature
    """Leave nothing."""
    shutil.rmtree(_METRICS, ignore_errors=True)
