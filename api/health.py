"""Liveness and readiness probes, for orchestrators and load balancers."""

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import marshmallow as ma
from flask.views import MethodView
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

import settings
from core.redis import connection_pool

from .auth import liveness, probe
from .blueprints import Blueprint
from .schemas import Schema

blp = Blueprint("health", __name__, description="Health checks for orchestrators and load balancers.")

_TIMEOUT_SECONDS = 0.5
_CACHE_SECONDS = 1.0  # results are reused, so that the probes of many load balancers cost one round of checks
_DEFAULT_PORTS = {"redis": 6379, "rediss": 6380, "mongodb": 27017, "postgresql": 5432}


def _responds_to_ping(url: str) -> bool:
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


def _accepts_connections(url: str) -> bool:
    """Return whether a host of ``url`` accepts TCP connections. The gateway loads no database driver for more."""
    parts = urlsplit(url if "//" in url else f"//{url}")
    default_port = _DEFAULT_PORTS.get(parts.scheme.partition("+")[0], 0)
    in_query = [value for name, value in parse_qsl(parts.query) if name == "host"]
    for address in in_query or parts.netloc.rpartition("@")[2].split(","):
        host = urlsplit(f"//{address}")
        try:
            socket.create_connection((host.hostname, host.port or default_port), _TIMEOUT_SECONDS).close()
        except OSError:
            continue
        return True
    return False


# Only the queue decides readiness. The other servers are reported for operators.
_CHECKS: dict[str, tuple[Callable[[str], bool], str]] = {
    "queue": (_responds_to_ping, settings.REDIS_URL),
    "cache": (_responds_to_ping, settings.CACHE_URL),
    "kafka": (_accepts_connections, settings.KAFKA_BOOTSTRAP_SERVERS),
    "mongo": (_accepts_connections, settings.MONGO_URL),
    "postgres": (_accepts_connections, settings.DATABASE_URL),
}


def is_known(name: str) -> bool:
    """Return whether the gateway knows the address of a server. In production it gets those that it uses only."""
    if name == "mongo" and settings.MONGO_URL.startswith("mongodb+srv:"):
        return False  # the name has no address; the driver resolves it to those of the servers
    return not settings.PRODUCTION or settings.read.is_set(_SETTINGS[name])


_SETTINGS = {
    "queue": "REDIS_URL",
    "cache": "CACHE_URL",
    "kafka": "KAFKA_BOOTSTRAP_SERVERS",
    "mongo": "MONGO_URL",
    "postgres": "DATABASE_URL",
}


class Readiness:
    """Caches the results of the latest round of checks for _CACHE_SECONDS."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._checked_at = float("-inf")
        self._up: dict[str, bool] = {}

    def up(self) -> dict[str, bool]:
        """Return by name whether each server is up. Concurrent callers wait for the running round of checks."""
        with self._lock:
            if time.monotonic() - self._checked_at > _CACHE_SECONDS:
                with ThreadPoolExecutor(len(_CHECKS)) as pool:
                    checks = {name: pool.submit(check, url) for name, (check, url) in _CHECKS.items() if is_known(name)}
                    self._up = {name: check.result() for name, check in checks.items()}
                self._checked_at = time.monotonic()
            return self._up


readiness = Readiness()


class LivenessSchema(Schema):
    status = ma.fields.Str(validate=ma.validate.Equal("alive"))
    version = ma.fields.Str(metadata={"description": "The version of the running image.", "example": "1.2.3"})


class ReadinessSchema(Schema):
    status = ma.fields.Str(validate=ma.validate.OneOf(["ready", "not_ready"]))
    servers = ma.fields.Dict(
        keys=ma.fields.Str(validate=ma.validate.OneOf(list(_CHECKS))),
        values=ma.fields.Str(validate=ma.validate.OneOf(["up", "down"])),
    )


@blp.route("/livez")
class Liveness(MethodView):
    @liveness
    @blp.doc(operationId="getLiveness")
    @blp.response(200, LivenessSchema)
    def get(self) -> Any:
        """Check liveness

        Says that the process answers; it does not ask any server.
        """
        return {"status": "alive", "version": settings.COURSEBUS_VERSION}


@blp.route("/readyz")
class Ready(MethodView):
    @probe
    @blp.doc(operationId="getReadiness")
    @blp.alt_response(503, schema=ReadinessSchema, description="The queue Redis does not respond.")
    @blp.response(200, ReadinessSchema)
    def get(self) -> Any:
        """Check readiness

        Returns whether requests can be served, and which servers respond.
        """
        up = readiness.up()
        servers = {name: "up" if is_up else "down" for name, is_up in up.items()}
        if up["queue"]:
            return {"status": "ready", "servers": servers}
        return {"status": "not_ready", "servers": servers}, 503
