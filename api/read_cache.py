"""Reads through the cache. A hit needs no worker; if the cache is down, reads go to the worker and none fails."""

import functools
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, TypeVar, cast

import msgspec
from flask import Response, g, request
from redis.exceptions import RedisError

from core import cache
from core.cache import NOT_FOUND, CachedView
from core.commands import Command
from core.log import get_logger
from models.errors import DomainError, NotFound, OutcomeUnknown, PreconditionFailed, Unavailable

from . import conditional_requests
from .conditional_requests import cached_page_response, encode_page, json_response
from .rpc import call

log = get_logger(__name__)

Found = TypeVar("Found")
View = TypeVar("View", bound=Callable[..., Any])

_WAIT_SECONDS = 2.0  # how long to wait for a concurrent reader; after it each reader asks the worker itself
_POLL_SECONDS = 0.01


def cached_response(key: str, command: Command) -> Response:
    """Return ``get_or_fetch(key, command)`` with its ETag. A 304 reads only the version from the cache."""
    version = conditional_requests.if_none_match_version()
    if version and _is_current(key, version):
        return conditional_requests.not_modified(version)
    return json_response(get_or_fetch(key, command))


def get_or_fetch(key: str, command: Command) -> CachedView:
    """Return the cached view of ``key``; on a miss, send ``command`` and cache its result.

    The result must have a ``version``. Of concurrent readers that miss, only one asks the worker. "Not
    found" is cached for 10 seconds. Raises what ``call`` raises.
    """

    def fetch() -> CachedView:
        try:
            view = call(command)
        except NotFound:
            _store_best_effort(lambda: cache.put_not_found(key))
            raise
        return _store(key, view)

    return _single_flight(key, lambda: _get_cached(key), fetch)


def get_cached_profile(sub: str) -> CachedView | None:
    """Return the cached profile of the user with this ``sub``; None if it must be requested from the worker."""
    try:
        profile = cache.get_own_profile(sub)
    except RedisError:
        return None
    return None if profile and profile.body == NOT_FOUND else profile


def cached_page_view(version_key: Callable[[], str], *, stale_seconds: int = 0) -> Callable[[View], View]:
    """Cache the response of a view by its path and query string; a hit does not even parse the query.

    A page is valid until a commit changes ``version_key()``. The version key of a user's own pages must contain the
    user id, because it is the only part of the cache key that identifies the user.

    After a minute one reader refreshes a page. For ``stale_seconds`` more, all others get the stale page, and so does
    that reader if the service is unavailable. "Not found" is cached for 10 seconds.
    """

    def decorate(view: View) -> View:
        @functools.wraps(view)
        def wrapper(*args: Any, **kwargs: Any) -> Response:
            read = _PageRead(version_key(), stale_seconds, functools.partial(view, *args, **kwargs))
            page = _single_flight(read.key, read.lookup, read.fetch, stale_value=read.stale_page)
            return cached_page_response(page)

        return cast("View", wrapper)

    return decorate


def limit_page(ends: Iterable[str | None]) -> None:
    """Let the page of this request be cached until the first of these times in the future, at most."""
    moments = [datetime.fromisoformat(end).timestamp() for end in ends if end]
    g.page_valid_until = min((moment for moment in moments if moment > time.time()), default=None)


class _PageRead:
    """One request for a page: reads it from the cache, or makes and stores it."""

    def __init__(self, version_key: str, stale_seconds: int, build: Callable[[], Response]) -> None:
        self.key = cache.page_key(version_key, request.full_path)
        self._version_key = version_key
        self._stale_seconds = stale_seconds
        self._build = build
        self._version = 0
        self._stale: bytes | None = None

    def lookup(self) -> bytes | None:
        """Return the cached page if it is fresh, and note a stale one. Raises NotFound if that is cached."""
        self._version, page = cache.get_page(self._version_key, self.key)
        if page is None:
            return None
        if page.body.startswith(NOT_FOUND):
            raise DomainError.from_wire(msgspec.json.decode(page.body.removeprefix(NOT_FOUND)))
        if page.is_fresh:
            return page.body
        self._stale = page.body
        return None

    def stale_page(self) -> bytes | None:
        return self._stale

    def fetch(self) -> bytes:
        version_before = self._version  # not the current one: it may have changed while the page was made
        try:
            response = self._build()
        except NotFound as error:
            error_json = msgspec.json.encode(error.to_wire())
            _store_best_effort(lambda: cache.put_not_found_page(self.key, version_before, error_json))
            raise
        page = encode_page(response.headers.get("Link", ""), response.get_data())
        valid_until = g.get("page_valid_until")
        put_page = functools.partial(cache.put_page, stale_seconds=self._stale_seconds, valid_until=valid_until)
        _store_best_effort(lambda: put_page(self.key, version_before, page))
        return page


def _single_flight(
    key: str,
    lookup: Callable[[], Found | None],
    fetch: Callable[[], Found],
    stale_value: Callable[[], Found | None] = lambda: None,
) -> Found:
    """Return the result of ``lookup``; on a miss, of ``fetch``, called by one of the readers (single flight).

    The other readers, in all processes, return the stale value of ``stale_value`` if there is one. Otherwise they wait
    for _WAIT_SECONDS and then call ``fetch``. If ``fetch`` raises Unavailable or OutcomeUnknown, its caller gets the
    stale value too. If the cache is down, every reader calls ``fetch``.
    """
    until = time.monotonic() + _WAIT_SECONDS
    try:
        while (found := lookup()) is None:
            if cache.acquire_fetch_lock(key):
                found = lookup()  # another reader may have stored it between this lookup and the lock
                break
            if (stale := stale_value()) is not None:
                return stale
            if time.monotonic() > until:
                return fetch()
            time.sleep(_POLL_SECONDS)
        else:
            return found
    except RedisError as error:
        log.warning("cache is unavailable", reason=str(error))
        return fetch()
    try:
        return fetch() if found is None else found
    except (Unavailable, OutcomeUnknown):
        if (stale := stale_value()) is not None:
            return stale
        raise
    finally:
        _store_best_effort(lambda: cache.release_fetch_lock(key))


def get_prewarmed(version_key: str, key: str) -> Any:
    """Return the value that a job has cached under ``key``; None if there is none or ``version_key`` has changed."""
    try:
        _, page = cache.get_page(version_key, key)
    except RedisError:
        return None
    return msgspec.json.decode(page.body) if page else None


def call_and_cache(key: str, command: Command) -> CachedView:
    """Change the resource cached under ``key`` by ``command``, and return its new view.

    Read your own writes: the view is cached before the response is sent.
    """
    try:
        view = call(command)
    except PreconditionFailed:
        # The cached view may be outdated because an invalidation was lost: drop it, so that the client can retry.
        _store_best_effort(lambda: cache.delete(key))
        raise
    return _store(key, view)


def invalidate(key: str, version: int) -> None:
    """Invalidate views of ``key`` older than ``version``: the next read goes to the worker."""
    _store_best_effort(lambda: cache.put(key, CachedView(version, b"")))


def invalidate_pages(version_key: str) -> None:
    """Invalidate all pages of ``version_key``."""
    _store_best_effort(lambda: cache.put(version_key, cache.invalidation_marker()))


def invalidate_catalogue() -> None:
    """Invalidate all pages of the catalogue."""
    invalidate_pages(cache.CATALOGUE_VERSION_KEY)


def _is_current(key: str, version: int) -> bool:
    try:
        return cache.get_version(key) == version
    except RedisError:
        return False


def _get_cached(key: str) -> CachedView | None:
    stored = cache.get(key)
    if stored and stored.body == NOT_FOUND:
        kind, _, name = key.partition(":")
        raise NotFound(kind, name)
    return stored


def _store(key: str, view: dict[str, Any]) -> CachedView:
    stored = CachedView.from_view(view)
    _store_best_effort(lambda: cache.put(key, stored))
    return stored


def _store_best_effort(store: Callable[[], object]) -> None:
    try:
        store()
    except RedisError as error:
        log.warning("cache is unavailable", reason=str(error))
