"""Clients of the two Redis servers: the queues, and apart from them the cache."""

from functools import cache

from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

import settings

RELAY_HINT = "relay:hint"  # a list with one element at most: "the outbox has rows"


@cache
def queue_redis() -> Redis:
    """The server of queues and replies; never the only holder of a promise."""
    return _client(settings.REDIS_URL, timeout_seconds=settings.ASK_TIMEOUT_SECONDS + 5)


@cache
def cache_redis() -> Redis:
    """The server of stored reads. It may be away: a reader then asks the worker instead."""
    return _client(settings.CACHE_URL, timeout_seconds=1)


def _client(url: str, *, timeout_seconds: float) -> Redis:
    # redis-py 8 retries a timed-out blocking read by default, which turns BLPOP's 7 s into 59 s: no retries here, and
    # a socket timeout above every block time.
    return Redis(
        connection_pool=ConnectionPool.from_url(
            url,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=2,
            socket_keepalive=True,
            health_check_interval=10,
            retry=Retry(NoBackoff(), 0),
        )
    )
