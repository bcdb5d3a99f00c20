"""Reads through the cache. A hit needs no worker; if the cache is down, reads go to the worker and none fails."""

import functools
import time
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from flask import Response, request
from redis.exceptions import RedisError

from models import cache
from models.cache import MISSING, Stored
from models.errors import DomainError, NotFound, OutcomeUnknown, PreconditionFailed, Unavailable
from models.log import get_logger

from . import etags
from .etags import respond, respond_page
from .queue import ask

log = get_logger(__name__)

Found = TypeVar("Found")
View = TypeVar("View", bound=Callable[..., Any])

_WAIT_SECONDS = 2.0  # how long to wait for a concurrent reader; after it each reader asks the worker itself
_LOOK_SECONDS = 0.01


def cached(key: str, task: str, **message: Any) -> Response:
    """Return ``stored(key, task, **message)`` with its ETag. A 304 reads only the version from the cache."""
    version = etags.known_version()
    if version and _still(key, version):
        return etags.unchanged(version)
    return respond(stored(key, task, **message))


def stored(key: str, task: str, **message: Any) -> Stored:
    """Return the cached view of ``key``; on a miss, ask ``task`` and cache its result.

    The result of ``task`` must have a ``version``. Of concurrent readers that miss, only one asks the worker. "Not
    found" is cached for 10 seconds. Raises what ``ask`` raises.
    """

    def fetch() -> Stored:
        try:
            view = ask(task, **message)
        except NotFound:
            _kept_if_possible(lambda: cache.put_missing(key))
            raise
        return _kept(key, view)

    return _in_one_flight(key, lambda: _found(key), fetch)


def own_profile(sub: str) -> Stored | None:
    """Return the cached profile of the user with this ``sub``; None if it must be requested from the worker."""
    try:
        profile = cache.get_own_profile(sub)
    except RedisError:
        return None
    return None if profile and profile.body == MISSING else profile


def cached_page(version_key: Callable[[], str], *, stale_seconds: int = 0) -> Callable[[View], View]:
    """Cache the response of a view by its path and query string; a hit does not even parse the query.

    A page is valid until a commit changes ``version_key()``. The version key of a user's own pages must contain the
    user id, because it is the only part of the cache key that identifies the user.

    After a minute one reader refreshes a page. For ``stale_seconds`` more, all others get the stale page, and so does
    that reader if the service is unavailable. "Not found" is cached for 10 seconds.
    """

    def decorate(view: View) -> View:
        @functools.wraps(view)
        def through_the_cache(*args: Any, **kwargs: Any) -> Response:
            read = _PageRead(version_key(), stale_seconds, functools.partial(view, *args, **kwargs))
            page = _in_one_flight(read.key, read.look, read.fetch, meanwhile=read.stale_page)
            return respond_page(page)

        return through_the_cache  # type: ignore[return-value]  # functools.wraps does not return the view's type

    return decorate


class _PageRead:
    """One request for a page: reads it from the cache, or makes and stores it."""

    def __init__(self, version_key: str, stale_seconds: int, make: Callable[[], Response]) -> None:
        self.key = cache.page_key(version_key, request.full_path)
        self._version_key = version_key
        self._stale_seconds = stale_seconds
        self._make = make
        self._version = 0
        self._stale: bytes | None = None

    def look(self) -> bytes | None:
        """Return the cached page if it is fresh, and note a stale one. Raises NotFound if that is cached."""
        self._version, page = cache.get_page(self._version_key, self.key)
        if page is None:
            return None
        if page.body.startswith(MISSING):
            raise DomainError.from_wire(msgspec.json.decode(page.body.removeprefix(MISSING)))
        if page.fresh:
            return page.body
        self._stale = page.body
        return None

    def stale_page(self) -> bytes | None:
        return self._stale

    def fetch(self) -> bytes:
        version_before = self._version  # not the current one: it may have changed while the page was made
        try:
            response = self._make()
        except NotFound as error:
            told = msgspec.json.encode(error.to_wire())
            _kept_if_possible(lambda: cache.put_missing_page(self.key, version_before, told))
            raise
        page = b"\n".join((response.headers.get("Link", "").encode(), response.get_data()))
        keep = functools.partial(cache.put_page, stale_seconds=self._stale_seconds)
        _kept_if_possible(lambda: keep(self.key, version_before, page))
        return page


def _in_one_flight(
    key: str,
    look: Callable[[], Found | None],
    fetch: Callable[[], Found],
    meanwhile: Callable[[], Found | None] = lambda: None,
) -> Found:
    """Return the result of ``look``; on a miss, of ``fetch``, called by one of all concurrent readers (single flight).

    The other readers, in all processes, return the stale value of ``meanwhile`` if there is one. Otherwise they wait
    for _WAIT_SECONDS and then call ``fetch``. If ``fetch`` raises Unavailable or OutcomeUnknown, its caller gets the
    stale value too. If the cache is down, every reader calls ``fetch``.
    """
    until = time.monotonic() + _WAIT_SECONDS
    try:
        while (found := look()) is None:
            if cache.begin_flight(key):
                found = look()  # another reader may have stored it between our look and our lock
                break
            if (old := meanwhile()) is not None:
                return old
            if time.monotonic() > until:
                return fetch()
            time.sleep(_LOOK_SECONDS)
        else:
            return found
    except RedisError as error:
        log.warning("cache is away", reason=str(error))
        return fetch()
    try:
        return fetch() if found is None else found
    except (Unavailable, OutcomeUnknown):
        if (old := meanwhile()) is not None:
            return old
        raise
    finally:
        _kept_if_possible(lambda: cache.end_flight(key))


def warmed(version_key: str, key: str) -> Any:
    """Return the value that a job has cached under ``key``; None if there is none or ``version_key`` has changed."""
    try:
        _, page = cache.get_page(version_key, key)
    except RedisError:
        return None
    return msgspec.json.decode(page.body) if page else None


def changed(key: str, task: str, **message: Any) -> Response:
    """Change the resource cached under ``key`` by ``task``, and return its new view.

    Read your own writes: the view is cached before the response is sent.
    """
    try:
        view = ask(task, **message)
    except PreconditionFailed:
        # The cached view may be outdated because an invalidation was lost: drop it, so that the client can retry.
        _kept_if_possible(lambda: cache.forget(key))
        raise
    return respond(_kept(key, view))


def outdate(key: str, version: int) -> None:
    """Invalidate views of ``key`` older than ``version``: the next read goes to the worker."""
    _kept_if_possible(lambda: cache.put(key, Stored(version, b"")))


def outdate_catalogue() -> None:
    """Invalidate all pages of the catalogue."""
    _kept_if_possible(lambda: cache.put(cache.CATALOGUE, cache.changed()))


def _still(key: str, version: int) -> bool:
    try:
        return cache.get_version(key) == version
    except RedisError:
        return False


def _found(key: str) -> Stored | None:
    stored = cache.get(key)
    if stored and stored.body == MISSING:
        kind, _, name = key.partition(":")
        raise NotFound(kind, name)
    return stored


def _kept(key: str, view: dict[str, Any]) -> Stored:
    stored = Stored.of(view)
    _kept_if_possible(lambda: cache.put(key, stored))
    return stored


def _kept_if_possible(keep: Callable[[], object]) -> None:
    try:
        keep()
    except RedisError as error:
        log.warning("cache is away", reason=str(error))
