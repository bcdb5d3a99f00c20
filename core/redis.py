"""Clients of the two Redis servers: one for the queues, one for the cache."""

from functools import cache
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from redis import Connection, ConnectionPool, Redis, SSLConnection
from redis.backoff import NoBackoff
from redis.retry import Retry

import settings

from . import redis_sentinel

Command = tuple[str | bytes | float, ...]  # its name and its arguments

RELAY_HINT = "relay:hint"  # a list of at most one element, which wakes the outbox relay


@cache
def queue_redis() -> Redis:
    """Return the client for queues and replies. This server is not a system of record: its data may be lost."""
    return _client(settings.REDIS_URL, timeout_seconds=settings.COMMAND_TIMEOUT_SECONDS + 5)


@cache
def cache_redis() -> Redis:
    """Return the client for the cache. If this server is down, reads go to the worker."""
    return _client(settings.CACHE_URL, timeout_seconds=1)


def tls_options(url: str) -> dict[str, Any]:
    """Return the TLS arguments of a ``rediss://`` URL for redis-py and kombu; none for ``redis://``.

    The certificate is verified unless the URL has ``?ssl_cert_reqs=none``. Other options of the query are
    ``ssl_ca_certs``, ``ssl_certfile``, ``ssl_keyfile`` and ``ssl_check_hostname``.
    """
    parts = urlsplit(url)
    if not parts.scheme.startswith("rediss"):
        return {}
    given: dict[str, Any] = {name: value for name, value in parse_qsl(parts.query) if name.startswith("ssl_")}
    # Celery's documentation writes CERT_REQUIRED, redis-py's writes required.
    given["ssl_cert_reqs"] = given.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    if "ssl_check_hostname" in given:
        given["ssl_check_hostname"] = given["ssl_check_hostname"].lower() not in {"false", "0", "no"}
    return given


def without_tls_options(url: str) -> str:
    """Return the URL without the TLS options: each library would interpret them differently.

    That of Sentinels becomes the URL of a server; ``connection_classes`` replace its address by that of the master.
    """
    parts = urlsplit(url)
    others = [
        (name, value)
        for name, value in parse_qsl(parts.query)
        if not name.startswith("ssl_") and name not in redis_sentinel.OPTIONS
    ]
    if redis_sentinel.is_sentinel(url):
        login, at, _ = parts.netloc.rpartition("@")
        parts = parts._replace(scheme=parts.scheme.removesuffix(redis_sentinel.SUFFIX), netloc=f"{login}{at}sentinel")
    return parts._replace(query=urlencode(others)).geturl()


def connection_classes(url: str) -> tuple[type[Connection], type[SSLConnection]]:
    """Return redis-py's classes of connections for ``url``, without and with TLS."""
    if not redis_sentinel.is_sentinel(url):
        return Connection, SSLConnection
    return redis_sentinel.connection_classes(url, tuple(tls_options(url).items()))


def connection_pool(url: str, **options: Any) -> ConnectionPool:
    """Return a connection pool for ``url``; ``options`` are those of redis-py's ``ConnectionPool``."""
    tls = tls_options(url)
    plain, encrypted = connection_classes(url)
    pool = ConnectionPool.from_url(without_tls_options(url), **tls, **options)
    pool.connection_class = encrypted if tls else plain
    return pool


def _client(url: str, *, timeout_seconds: float) -> Redis:
    # redis-py 8 retries a blocking read that timed out, which turns the 7 s of BLPOP into 59 s. Hence no retries, and a
    # socket timeout above every blocking time.
    return Redis(
        connection_pool=connection_pool(
            url,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=2,
            socket_keepalive=True,
            health_check_interval=10,
            retry=Retry(NoBackoff(), 0),
        )
    )
