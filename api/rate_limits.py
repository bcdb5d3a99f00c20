"""Rate limits per caller and per address, in fixed windows of a minute.

A limit is counted on the Redis server that the request needs anyway, so that counting adds no point of failure: reads
on the cache, commands on the queue. One script counts caller and address in one round trip (docs/decisions/0030).
"""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from flask import Flask, Response, g, request
from redis import Redis
from redis.commands.core import Script
from redis.exceptions import RedisError

import settings
from core.addresses import client_bucket
from core.log import get_logger
from core.redis import cache_redis, queue_redis
from core.redis_commands import run_script
from models.errors import RateLimited, Unavailable

log = get_logger(__name__)

WINDOW_SECONDS = 60


@dataclass(frozen=True)
class Limit:
    """Allowed requests per minute. An address gets more than a caller: schools and mobile networks share addresses."""

    name: str
    per_caller: int
    per_address: int
    server: Callable[[], Redis] | None  # None: counted in each process
    fail_closed: bool = False  # False: counted in each process while Redis is down


READ = Limit("read", 600, 6000, cache_redis)  # 10 per second; a front end makes about five requests per page
WRITE = Limit("write", 120, 1200, queue_redis)  # enough for a learner who clicks through lessons
PAYMENT = Limit("payment", 20, 200, queue_redis, fail_closed=True)  # against card testing
# Counted in the process: the readiness probe must not depend on the servers that it reports on.
PROBE = Limit("probe", 0, 600, None)
WEBHOOK = Limit("webhook", 0, 6000, queue_redis)  # providers resend missed webhooks in bursts, from few addresses


@dataclass(frozen=True)
class Quota:
    """Usage of a limit in the current window."""

    name: str
    amount: int
    used: int
    resets_in_seconds: int

    @property
    def remaining(self) -> int:
        return max(self.amount - self.used, 0)


# INCR and EXPIRE are one script: a crash between them would leave a counter that never expires.
_COUNT = """
    local counts = {}
    for _, key in ipairs(KEYS) do
        local used = redis.call('INCR', key)
        if used == 1 then redis.call('EXPIRE', key, ARGV[1]) end
        counts[#counts + 1] = used
        counts[#counts + 1] = redis.call('TTL', key)
    end
    if ARGV[2] then counts[#counts + 1] = redis.call('GET', ARGV[2]) end
    return counts
"""
_scripts: dict[Callable[[], Redis], Script] = {
    server: server().register_script(_COUNT) for server in (cache_redis, queue_redis)
}


def init_app(app: Flask) -> None:
    """Count requests that reach no view (404, 405, preflights), and add RateLimit headers to responses.

    All other requests are counted by the policy of their view.
    """
    app.before_request(_count_without_view)
    app.after_request(_add_headers)


def _count_without_view() -> None:
    if request.routing_exception is not None or request.method == "OPTIONS":
        check(READ)


def check(limit: Limit, *, caller: str | None = None, cached_key: str | None = None) -> bytes | None:
    """Count the current request by address and, if given, by caller.

    Returns the cached value of ``cached_key`` if the limit is counted on the cache, which saves a round trip.

    Raises RateLimited above ``limit``, and Unavailable if Redis is down and the limit is ``fail_closed``.
    """
    if not settings.RATE_LIMITS:
        return None
    amounts = {f"limit:{limit.name}:address:{client_bucket()}": limit.per_address}
    if caller is not None:
        amounts[f"limit:{limit.name}:caller:{caller}"] = limit.per_caller
    if limit.server is None:
        _set_quotas(amounts, _in_process.count(list(amounts)))
        return None
    try:
        also = [cached_key] if cached_key and limit.server is cache_redis else []
        counts = run_script(_scripts[limit.server], list(amounts), [WINDOW_SECONDS, *also])
    except RedisError as error:
        if limit.fail_closed:
            raise Unavailable("Counting of payments") from error
        log.warning("rate limits are counted in this process", reason=str(error))
        counts = _in_process.count(list(amounts))
    _set_quotas(amounts, counts)
    return counts[-1] if len(counts) > 2 * len(amounts) else None


def _set_quotas(amounts: dict[str, int], counts: list[int]) -> None:
    g.quotas = [
        Quota(key.split(":")[2], amount, used, max(resets_in_seconds, 1))
        for (key, amount), used, resets_in_seconds in zip(amounts.items(), counts[::2], counts[1::2], strict=False)
    ]
    if any(quota.used > quota.amount for quota in g.quotas):
        raise RateLimited


def _add_headers(response: Response) -> Response:
    quotas: list[Quota] = g.get("quotas", [])
    if quotas:
        tightest = min(quotas, key=lambda quota: quota.remaining / quota.amount)
        policies = [f'"{quota.name}";q={quota.amount};w={WINDOW_SECONDS}' for quota in quotas]
        response.headers["RateLimit-Policy"] = ", ".join(policies)
        response.headers["RateLimit"] = f'"{tightest.name}";r={tightest.remaining};t={tightest.resets_in_seconds}'
        if tightest.used > tightest.amount:
            response.headers["Retry-After"] = str(tightest.resets_in_seconds)
    return response


class InProcessWindows:
    """Counters of this process, used while Redis is down and for limits without a server."""

    MAX_KEYS = 50_000  # keys; above it all are cleared, so that a flood of addresses cannot exhaust memory

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._windows: dict[str, tuple[float, int]] = {}

    def count(self, keys: list[str]) -> list[int]:
        """Count each key. Returns the same as the script: count and remaining seconds, for each key."""
        now = time.monotonic()
        counts = []
        with self._lock:
            if len(self._windows) > self.MAX_KEYS:
                self._windows.clear()
            for key in keys:
                ends_at, used = self._windows.get(key, (0.0, 0))
                if ends_at <= now:
                    ends_at, used = now + WINDOW_SECONDS, 0
                self._windows[key] = (ends_at, used + 1)
                counts += [used + 1, math.ceil(ends_at - now)]
        return counts


_in_process = InProcessWindows()
