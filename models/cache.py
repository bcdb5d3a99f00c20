r"""Reads stored as the bytes that go out, with the version they were made from. Losing them costs speed alone.

A key holds ``<version>\n<body>``. Only a version at least as new replaces it, so a slow reader cannot put back what a
commit has overtaken.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, cast
from uuid import UUID

import msgspec

from .redis import cache_redis

_KEPT_SECONDS = 3600
_PAGE_SECONDS = 60  # learners are counted in the catalogue, and not worth an ask each
_MISSING_SECONDS = 10  # what is asked for in vain is asked for again
_FLIGHT_MILLISECONDS = 5000  # of whoever asks and dies

MISSING = b"-"  # a body: there is no such thing
CATALOGUE = "catalogue:version"

_PUT_UNLESS_NEWER = cache_redis().register_script("""
    local held = redis.call('GETRANGE', KEYS[1], 0, 20)
    local version = string.match(held, '^(%d+)')
    if version and tonumber(version) > tonumber(ARGV[1]) then return 0 end
    redis.call('SET', KEYS[1], ARGV[1] .. '\\n' .. ARGV[2], 'EX', ARGV[3])
    return 1
""")


@dataclass(frozen=True)
class Stored:
    """A view as JSON, and the version of the aggregate that it shows."""

    version: int
    body: bytes

    @classmethod
    def of(cls, view: Mapping[str, Any]) -> Self:
        """A view that tells its own ``version``."""
        return cls(view["version"], msgspec.json.encode(view))


def get(key: str) -> Stored | None:
    """What is stored under ``key``. Raises RedisError where the cache does not answer."""
    held = cache_redis().get(key)
    if not isinstance(held, bytes):
        return None
    version, _, body = held.partition(b"\n")
    return Stored(int(version), body) if body else None


def put(key: str, stored: Stored, *, seconds: int = _KEPT_SECONDS) -> None:
    """Store, unless a newer version is there. An empty body says "changed": readers ask again."""
    _PUT_UNLESS_NEWER(keys=[key], args=[stored.version, stored.body, seconds])


def put_missing(key: str) -> None:
    """Store for a moment that there is no such thing; any version of it that is stored stands over this."""
    put(key, Stored(0, MISSING), seconds=_MISSING_SECONDS)


def get_page(key: str) -> tuple[int, bytes | None]:
    """The catalogue's present version, and the page under ``key`` where it is of that version. One round trip."""
    versioned, held = cast("list[bytes | None]", cache_redis().mget(CATALOGUE, key))
    version, _, body = (held or b"").partition(b"\n")
    present = int(versioned.partition(b"\n")[0]) if versioned else 0
    return present, body if version and int(version) == present else None


def put_page(key: str, stored: Stored) -> None:
    """Store a page of the catalogue. It may be that old: what is counted in it moves without a new version."""
    put(key, stored, seconds=_PAGE_SECONDS)


def catalogue_changed() -> Stored:
    """What to store under CATALOGUE when something is sold anew, otherwise, or no longer."""
    return Stored(time.time_ns() // 1000, b"")  # µs: later commits have greater ones


def begin_flight(key: str) -> bool:
    """Whether the caller is the one to ask for what is not stored under ``key``; end_flight frees the others."""
    return bool(cache_redis().set(f"flight:{key}", b"", nx=True, px=_FLIGHT_MILLISECONDS))


def end_flight(key: str) -> None:
    cache_redis().delete(f"flight:{key}")


def forget(key: str) -> None:
    """Drop what is stored: the next reader asks the worker."""
    cache_redis().delete(key)


def profile_key(user_id: UUID | str) -> str:
    return f"profile:{user_id}"


def course_key(ref: UUID | str) -> str:
    """What everybody sees of a course, by its id or its slug."""
    return f"course:{ref}"


def identity_key(sub: str) -> str:
    return f"identity:{sub}"
