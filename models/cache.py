r"""Reads stored as the bytes that go out, with the version they were made from. Losing them costs speed alone.

A key holds ``<version>\n<body>``. Only a version at least as new replaces it, so a slow reader cannot put back what a
commit has overtaken.
"""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, cast
from uuid import UUID

import msgspec

from .redis import cache_redis

_KEPT_SECONDS = 3600
_FRESH_SECONDS = 60  # of a page: what is counted in it moves without a new version
_MISSING_SECONDS = 10  # what is asked for in vain is asked for again
_FLIGHT_MILLISECONDS = 5000  # of whoever asks and dies

_LONGEST_VERSION = 20  # digits, and its line break; one byte more tells whether there is a body

ERASED = 2**53 - 1  # the version of an erased user's profile: the greatest that Redis' numbers hold exactly

MISSING = b"-"  # a body: there is no such thing

_PUT_UNLESS_NEWER = cache_redis().register_script("""
    local held = redis.call('GETRANGE', KEYS[1], 0, 20)
    local version = string.match(held, '^(%d+)')
    if version and tonumber(version) > tonumber(ARGV[1]) then return 0 end
    redis.call('SET', KEYS[1], ARGV[1] .. '\\n' .. ARGV[2], 'EX', ARGV[3])
    return 1
""")

# The profile of the account that the identity holds (models/accounts.py), unless the account is blocked: the second of
# two reads is made where the first one was.
_OWN_PROFILE = cache_redis().register_script("""
    local user_id = string.match(redis.call('GET', KEYS[1]) or '', '^%d+\\n([^ ]+) ?%d*$')
    return user_id and redis.call('GET', ARGV[1] .. user_id)
""")
_PROFILE = "profile:"


@dataclass(frozen=True)
class Stored:
    """A view as JSON, and the version of the aggregate that it shows."""

    version: int
    body: bytes

    @classmethod
    def of(cls, view: Mapping[str, Any]) -> Self:
        """A view that tells its own ``version``."""
        return cls(view["version"], msgspec.json.encode(view))


@dataclass(frozen=True)
class Page:
    """An answer as it goes out; ``fresh`` for its first minute."""

    body: bytes
    fresh: bool


def get(key: str) -> Stored | None:
    """What is stored under ``key``. Raises RedisError where the cache does not answer."""
    return parse(cache_redis().get(key))


def get_version_of_change(key: str) -> int | None:
    """The newest version that ``key`` knows of, also where its body was emptied. Raises RedisError."""
    held = cast("bytes", cache_redis().getrange(key, 0, _LONGEST_VERSION))
    version = held.partition(b"\n")[0]
    return int(version) if version.isdigit() else None


def get_version(key: str) -> int | None:
    """The version of what is stored under ``key``; None where nothing is. Raises RedisError."""
    held = cast("bytes", cache_redis().getrange(key, 0, _LONGEST_VERSION + 1))
    version, _, body = held.partition(b"\n")
    return int(version) if body else None


def get_own_profile(sub: str) -> Stored | None:
    """The profile stored of Auth0's ``sub``, in one round trip. Raises RedisError."""
    return parse(_OWN_PROFILE(keys=[identity_key(sub)], args=[_PROFILE]))


def parse(held: object) -> Stored | None:
    """Read what a key holds; None where it is empty or holds a version alone."""
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


def page_key(version_key: str, full_path: str) -> str:
    """Where the answer to ``full_path``, its query included, is stored."""
    return f"page:{hashlib.sha256(f'{version_key} {full_path}'.encode()).hexdigest()}"


def get_page(version_key: str, key: str) -> tuple[int, Page | None]:
    """The present version under ``version_key``, and the page under ``key`` where it is of that one. One round trip."""
    versioned, held = cast("list[bytes | None]", cache_redis().mget(version_key, key))
    present = int(versioned.partition(b"\n")[0]) if versioned else 0
    version, _, rest = (held or b"").partition(b"\n")
    if not version or int(version) != present:
        return present, None
    fresh_until, _, body = rest.partition(b"\n")
    return present, Page(body, fresh=time.time() < int(fresh_until))


def put_page(key: str, version: int, body: bytes, *, stale_seconds: int = 0) -> None:
    """Store a page as of ``version``: fresh for a minute, and then for ``stale_seconds`` better than nothing."""
    fresh_until = int(time.time()) + _FRESH_SECONDS
    put(key, Stored(version, b"%d\n%b" % (fresh_until, body)), seconds=_FRESH_SECONDS + stale_seconds)


def put_missing_page(key: str, version: int, body: bytes) -> None:
    """Store for a moment, as of ``version``, that there is no such page."""
    fresh_until = int(time.time()) + _MISSING_SECONDS
    put(key, Stored(version, b"%d\n%b" % (fresh_until, MISSING + body)), seconds=_MISSING_SECONDS)


def changed() -> Stored:
    """What to store under a version key when what its pages show is no longer so. Call it after the commit.

    Its version is the time, in µs: a page of any version was begun after all commits that had stored theirs by then.
    """
    return Stored(time.time_ns() // 1000, b"")


def begin_flight(key: str) -> bool:
    """Whether the caller is the one to ask for what is not stored under ``key``; end_flight frees the others."""
    return bool(cache_redis().set(f"flight:{key}", b"", nx=True, px=_FLIGHT_MILLISECONDS))


def end_flight(key: str) -> None:
    cache_redis().delete(f"flight:{key}")


def forget(key: str) -> None:
    """Drop what is stored: the next reader asks the worker."""
    cache_redis().delete(key)


def profile_key(user_id: UUID | str) -> str:
    return f"{_PROFILE}{user_id}"


def course_key(ref: UUID | str) -> str:
    """What everybody sees of a course, by its id or its slug."""
    return f"course:{ref}"


def identity_key(sub: str) -> str:
    return f"identity:{sub}"


# Version keys: of what many pages show, and every one of them is outdated at once.

CATALOGUE = "catalogue:version"

# The page that most visitors see first, laid ready by a job: as the worker answers to what is asked for it.
POPULAR = "courses:popular"
POPULAR_PAGE: dict[str, Any] = {"sort": "popular", "after": None, "limit": 20, "facets": False, "total": False}


def progress_of(user_id: UUID | str) -> str:
    """What a learner has done, in all courses."""
    return f"progress-of:{user_id}"


def notes_of(user_id: UUID | str) -> str:
    """What was told to a user."""
    return f"notes-of:{user_id}"
