"""Configure gunicorn for the pages; a container overrides ``--bind``."""

import gc
from typing import Any

import settings
from core.log import EcsLibraryFormatter

bind = f"127.0.0.1:{settings.PORT_BASE + 2}"
worker_class = "ops.gunicorn_worker.DeadlineWorker"  # incomplete requests occupy no thread
worker_connections = 1000  # per worker; further connections wait in the kernel
workers = settings.WEB_PROCESSES
threads = 16  # a thread mostly waits for the API
# The workers share the memory of the loaded code, and unsafe settings end the master. Neither opens a connection before
# the fork.
preload_app = True
keepalive = 75  # seconds; longer than the 60 of common load balancers, so that the load balancer closes first
graceful_timeout = 14
timeout = 60
accesslog = None
logconfig_dict = {
    "formatters": {"ecs": {"()": EcsLibraryFormatter, "service": "coursebus-web"}},
    "handlers": {"ecs": {"class": "logging.StreamHandler", "formatter": "ecs"}},
    "root": {"level": "WARNING", "handlers": ["ecs"]},
    "loggers": {"gunicorn.error": {"level": "INFO", "handlers": ["ecs"], "propagate": False}},
}
forwarder_headers = ""  # no header of a client may set SCRIPT_NAME and thereby change the path
forwarded_allow_ips = ""  # only core/addresses.py evaluates what proxies report
control_socket_disable = True  # the supervisor starts and stops gunicorn


def when_ready(server: Any) -> None:  # noqa: ARG001 gunicorn's signature
    """Keep the pages of the loaded application shared: a collection in a worker would write to them."""
    gc.collect()
    gc.freeze()
