"""Liveness and readiness probes, for orchestrators and load balancers."""

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import marshmallow as ma
from flask.views import MethodView
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

import settings
from models.redis import connection_pool

from .auth import liveness, probe
from .blueprints import Blueprint
from .schemas import Schema

blp = Blueprint("health", __name__, description="For whoever restarts processes and spreads load.")

_TIMEOUT_SECONDS = 0.5
_KEPT_SECONDS = 1.0  # results are reused, so that the probes of many load balancers cost one round of checks
_DEFAULT_PORTS = {"redis": 6379, "rediss": 6380, "mongodb": 27017, "postgresql": 5432}


def _answers(url: str) -> bool:
    """Return whether the Redis server at ``url`` answers PING."""
    client = Redis.from_pool(
        connection_pool(
            url,
            socket_timeout=_TIMEOUT_SECONDS,
            socket_connect_timeout=_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),  # the next probe is the retry
        )
    )
    try:
        return bool(client.ping())
    except RedisError:
        return False
    finally:
        client.close()


def _listens(url: str) -> bool:
    """Return whether a host of ``url`` accepts TCP connections. The gateway loads no database driver for more."""
    parts = urlsplit(url if "//" in url else f"//{url}")
    default_port = _DEFAULT_PORTS.get(parts.scheme.partition("+")[0], 0)
    for address in parts.netloc.rpartition("@")[2].split(","):
        host = urlsplit(f"//{address}")
        try:
            socket.create_connection((host.hostname, host.port or default_port), _TIMEOUT_SECONDS).close()
        except OSError:
            continue
        return True
    return False


# Only the queue decides readiness. The other servers are reported for operators.
_CHECKS: dict[str, tuple[Callable[[str], bool], str]] = {
    "queue": (_answers, settings.REDIS_URL),
    "cache": (_answers, settings.CACHE_URL),
    "kafka": (_listens, settings.KAFKA_BOOTSTRAP_SERVERS),
    "mongo": (_listens, settings.MONGO_URL),
    "postgres": (_listens, settings.DATABASE_URL),
}


class Readiness:
    """Caches the results of the latest round of checks for _KEPT_SECONDS."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._checked_at = float("-inf")
        self._up: dict[str, bool] = {}

    def up(self) -> dict[str, bool]:
        """Return by name whether each server is up. Concurrent callers wait for the running round of checks."""
        with self._lock:
            if time.monotonic() - self._checked_at > _KEPT_SECONDS:
                with ThreadPoolExecutor(len(_CHECKS)) as pool:
                    checks = {name: pool.submit(check, url) for name, (check, url) in _CHECKS.items()}
                    self._up = {name: check.result() for name, check in checks.items()}
                self._checked_at = time.monotonic()
            return self._up


readiness = Readiness()


class LivenessSchema(Schema):
    status = ma.fields.Str(validate=ma.validate.Equal("alive"))


class ReadinessSchema(Schema):
    status = ma.fields.Str(validate=ma.validate.OneOf(["ready", "not_ready"]))
    servers = ma.fields.Dict(
        keys=ma.fields.Str(validate=ma.validate.OneOf(list(_CHECKS))),
        values=ma.fields.Str(validate=ma.validate.OneOf(["up", "down"])),
    )


@blp.route("/livez")
class Liveness(MethodView):
    @liveness
    @blp.response(200, LivenessSchema)
    def get(self) -> Any:
        """Check liveness"""
        return {"status": "alive"}


@blp.route("/readyz")
class Ready(MethodView):
    @probe
    @blp.alt_response(503, schema=ReadinessSchema, description="The queues cannot be reached.")
    @blp.response(200, ReadinessSchema)
    def get(self) -> Any:
        """Check readiness

        Returns whether requests can be served, and which servers respond.
        """
        up = readiness.up()
        servers = {name: "up" if answers else "down" for name, answers in up.items()}
        if up["queue"]:
            return {"status": "ready", "servers": servers}
        return {"status": "not_ready", "servers": servers}, 503
