r"""Reads stored as the bytes that go out, with the version they were made from. Losing them costs speed alone.

A key holds ``<version>\n<body>``. Only a version at least as new replaces it, so a slow reader cannot put back what a
commit has overtaken.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID

import msgspec

from .redis import cache_redis

_KEPT_SECONDS = 3600

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


def put(key: str, stored: Stored) -> None:
    """Store, unless a newer version is there. An empty body says "changed": readers ask again."""
    _PUT_UNLESS_NEWER(keys=[key], args=[stored.version, stored.body, _KEPT_SECONDS])


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
