r"""Read cache in Redis: response bodies, each with the version of the data it was built from.

A key holds ``<version>\n<body>``. A write with an older version is ignored, so that a slow reader cannot replace data
that a later commit has stored. If Redis is down or loses data, reads go to the worker.
"""

import hashlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID

import msgspec
from redis.exceptions import ResponseError

from .redis import Command, cache_redis
from .redis_commands import execute_all_once, read, run_script

_TTL_SECONDS = 3600
_FRESH_SECONDS = 60  # of a page: the counts that it shows change without a new version
_NOT_FOUND_SECONDS = 10  # how long "not found" is cached
_FETCH_LOCK_MILLISECONDS = 5000  # when the lock of a reader that crashed expires

_VERSION_MAX_BYTES = (
    20  # the last byte read for a version: digits and line break; one more shows whether a body follows
)

ERASED_VERSION = (
    2**53 - 1
)  # the version of an erased user's profile: the largest integer that Lua numbers represent exactly

NOT_FOUND = b"-"  # the body that stands for "not found"

_PUT_UNLESS_NEWER = cache_redis().register_script("""
    local held = redis.call('GETRANGE', KEYS[1], 0, 20)
    local version = string.match(held, '^(%d+)')
    if version and tonumber(version) > tonumber(ARGV[1]) then return 0 end
    redis.call('SET', KEYS[1], ARGV[1] .. '\\n' .. ARGV[2], 'EX', ARGV[3])
    return 1
""")

# Resolves the account of an identity (models/accounts.py) and returns its profile in one round trip; returns nothing
# for a blocked account.
_OWN_PROFILE = cache_redis().register_script("""
    local user_id = string.match(redis.call('GET', KEYS[1]) or '', '^%d+\\n([^ ]+) ?%d*$')
    return user_id and redis.call('GET', ARGV[1] .. user_id)
""")
_PROFILE = "profile:"


@dataclass(frozen=True)
class CachedView:
    """A cached response body, and the version of the aggregate that it was built from."""

    version: int
    body: bytes

    @classmethod
    def from_view(cls, view: Mapping[str, Any]) -> Self:
        """Encode a view as JSON; its ``version`` field is the version."""
        return cls(view["version"], msgspec.json.encode(view))


@dataclass(frozen=True)
class CachedPage:
    """A cached response body. ``fresh`` is True during the first minute; afterwards the page is stale."""

    body: bytes
    is_fresh: bool


def get(key: str) -> CachedView | None:
    """Return the entry under ``key``. Raises RedisError."""
    return parse(read(cache_redis(), "GET", key))


def get_latest_version(key: str) -> int | None:
    """Return the newest version under ``key``, also if the entry was invalidated (empty body). Raises RedisError."""
    held: bytes = read(cache_redis(), "GETRANGE", key, 0, _VERSION_MAX_BYTES)
    version = held.partition(b"\n")[0]
    return int(version) if version.isdigit() else None


def get_version(key: str) -> int | None:
    """Return the version of the entry under ``key``; None if there is no body. Raises RedisError."""
    held: bytes = read(cache_redis(), "GETRANGE", key, 0, _VERSION_MAX_BYTES + 1)
    version, _, body = held.partition(b"\n")
    return int(version) if body else None


def get_own_profile(sub: str) -> CachedView | None:
    """Return the cached profile of the user with this ``sub``, in one round trip. Raises RedisError."""
    return parse(run_script(_OWN_PROFILE, [identity_key(sub)], [_PROFILE]))


def parse(value: object) -> CachedView | None:
    """Parse the value of a key; return None if it is missing or has no body."""
    if not isinstance(value, bytes):
        return None
    version, _, body = value.partition(b"\n")
    return CachedView(int(version), body) if body else None


def put(key: str, stored: CachedView, *, seconds: int = _TTL_SECONDS) -> None:
    """Store an entry, unless a newer version is cached. An empty body invalidates the entry."""
    run_script(_PUT_UNLESS_NEWER, [key], [stored.version, stored.body, seconds])


def put_all(entries: Sequence[tuple[str, CachedView]]) -> None:
    """Store entries as ``put`` does, all by one write. Raises RedisError; some may then be stored."""
    commands: list[Command] = [
        ("EVALSHA", _PUT_UNLESS_NEWER.sha, 1, key, stored.version, stored.body, _TTL_SECONDS) for key, stored in entries
    ]
    try:
        execute_all_once(cache_redis(), commands)
    except ResponseError:  # the server has lost the script; ``put`` loads it
        for key, stored in entries:
            put(key, stored)


def put_not_found(key: str) -> None:
    """Cache "not found" for _NOT_FOUND_SECONDS, unless any version of the object is cached."""
    put(key, CachedView(0, NOT_FOUND), seconds=_NOT_FOUND_SECONDS)


def page_key(version_key: str, full_path: str) -> str:
    """Return the cache key of the response to ``full_path``, which includes the query string."""
    # Pages in another format have other keys, because processes of two versions share the cache.
    return f"page2:{hashlib.blake2b(f'{version_key} {full_path}'.encode(), digest_size=24).hexdigest()}"


def get_page(version_key: str, key: str) -> tuple[int, CachedPage | None]:
    """Return the current version of ``version_key``, and the page under ``key`` if it has that version.

    One round trip.
    """
    marker, held = read(cache_redis(), "MGET", version_key, key)
    current = int(marker.partition(b"\n")[0]) if marker else 0
    version, _, rest = (held or b"").partition(b"\n")
    if not version or int(version) != current:
        return current, None
    fresh_until, _, body = rest.partition(b"\n")
    return current, CachedPage(body, is_fresh=time.time() < int(fresh_until))


def put_page(key: str, version: int, body: bytes, *, stale_seconds: int = 0, valid_until: float | None = None) -> None:
    """Store a page of ``version``: it is fresh for a minute, then stale for ``stale_seconds``.

    A page with what is true only until ``valid_until`` (Unix time) is fresh until then at most.
    """
    fresh_until = int(min(time.time() + _FRESH_SECONDS, valid_until or math.inf))
    put(key, CachedView(version, b"%d\n%b" % (fresh_until, body)), seconds=_FRESH_SECONDS + stale_seconds)


def put_not_found_page(key: str, version: int, body: bytes) -> None:
    """Cache "not found" for a page of ``version`` for _NOT_FOUND_SECONDS."""
    fresh_until = int(time.time()) + _NOT_FOUND_SECONDS
    put(key, CachedView(version, b"%d\n%b" % (fresh_until, NOT_FOUND + body)), seconds=_NOT_FOUND_SECONDS)


def invalidation_marker() -> CachedView:
    """Return the entry that invalidates all pages of a version key. Call this after the commit.

    Its version is the time in µs. A page of that version was therefore built after every commit that had stored its
    marker by then.
    """
    return CachedView(time.time_ns() // 1000, b"")


def acquire_fetch_lock(key: str) -> bool:
    """Take the single-flight lock of ``key``: only the caller that gets True asks the worker, the others wait."""
    return bool(cache_redis().set(f"fetch-lock:{key}", b"", nx=True, px=_FETCH_LOCK_MILLISECONDS))


def release_fetch_lock(key: str) -> None:
    """Release the single-flight lock of ``key``."""
    cache_redis().delete(f"fetch-lock:{key}")


def delete(key: str) -> None:
    """Delete an entry; the next read goes to the worker."""
    cache_redis().delete(key)


def profile_key(user_id: UUID | str) -> str:
    return f"{_PROFILE}{user_id}"


def course_key(ref: UUID | str) -> str:
    """Return the key of the public view of a course, by its id or its slug."""
    return f"course:{ref}"


def identity_key(sub: str) -> str:
    return f"identity:{sub}"


# Version keys: a change of one invalidates many pages at once.

CATALOGUE_VERSION_KEY = "catalogue:version"

# The first page of the catalogue, which a job keeps in the cache, and the arguments that its query has.
POPULAR = "courses:popular"
POPULAR_PAGE: dict[str, Any] = {"sort": "popular", "after": None, "limit": 20, "facets": False, "total": False}


def progress_version_key(user_id: UUID | str) -> str:
    """Return the version key of the pages that show a learner's progress."""
    return f"progress-version:{user_id}"


def notifications_version_key(user_id: UUID | str) -> str:
    """Return the version key of the pages that show a user's notifications."""
    return f"notifications-version:{user_id}"
