"""Reads through the cache: a hit touches no queue, and a cache that is away costs speed only."""

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

_WAIT_SECONDS = 2.0  # for another's flight; then everybody asks alone
_LOOK_SECONDS = 0.01


def cached(key: str, task: str, **message: Any) -> Response:
    """Answer with ``stored`` and its ETag; of what the client has already, its version alone is read."""
    version = etags.known_version()
    if version and _still(key, version):
        return etags.unchanged(version)
    return respond(stored(key, task, **message))


def stored(key: str, task: str, **message: Any) -> Stored:
    """What is stored under ``key``; where nothing is, what ``task`` shows, stored for the next one.

    ``task`` answers with a view that has its ``version``. Of all who miss at the same time one asks. That there is no
    such thing is stored for a moment too. Raises what ``ask`` raises.
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
    """What is stored of the caller's profile; None where it has to be asked for, or is said to be missing."""
    try:
        profile = cache.get_own_profile(sub)
    except RedisError:
        return None
    return None if profile and profile.body == MISSING else profile


def cached_page(version_key: Callable[[], str], *, stale_seconds: int = 0) -> Callable[[View], View]:
    """Answer with the bytes stored for this very request, before its query is read.

    They hold until a commit outdates ``version_key()``, which for a page of one person's own must name that person. A
    page older than a minute is asked for anew by one reader, and for ``stale_seconds`` still shown to the others, and
    to all while it cannot be had. That there is no such thing is stored for a moment too.
    """

    def decorate(view: View) -> View:
        @functools.wraps(view)
        def through_the_cache(*args: Any, **kwargs: Any) -> Response:
            read = _PageRead(version_key(), stale_seconds, functools.partial(view, *args, **kwargs))
            page = _in_one_flight(read.key, read.look, read.fetch, meanwhile=read.stale_page)
            return respond_page(page)

        return through_the_cache  # type: ignore[return-value]  # functools.wraps keeps the view's own type to itself

    return decorate


class _PageRead:
    """One request for a page: what is stored for it, and how it is made."""

    def __init__(self, version_key: str, stale_seconds: int, make: Callable[[], Response]) -> None:
        self.key = cache.page_key(version_key, request.full_path)
        self._version_key = version_key
        self._stale_seconds = stale_seconds
        self._make = make
        self._version = 0
        self._stale: bytes | None = None

    def look(self) -> bytes | None:
        """Raises NotFound, as the one did who looked in vain."""
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
        version_before = self._version  # a page made while something changes is of the version before
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
    """What ``look`` finds, or ``fetch`` brings: of those who miss at the same time, in all processes, one fetches.

    The others have what ``meanwhile`` has, or wait; all have it where ``fetch`` meets what may heal.
    """
    until = time.monotonic() + _WAIT_SECONDS
    try:
        while (found := look()) is None:
            if cache.begin_flight(key):
                found = look()  # an earlier flight may have landed between our look and our start
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
    """What a job has laid ready under ``key``; None where there is nothing, or where it is no longer so."""
    try:
        _, page = cache.get_page(version_key, key)
    except RedisError:
        return None
    return msgspec.json.decode(page.body) if page else None


def changed(key: str, task: str, **message: Any) -> Response:
    """Have ``task`` change the resource stored under ``key``, and answer with its new view.

    It is stored before the client hears of it, so that it reads its own write.
    """
    try:
        view = ask(task, **message)
    except PreconditionFailed:
        # Perhaps the stored view misled the client: a worker's word on a change may have missed the cache.
        _kept_if_possible(lambda: cache.forget(key))
        raise
    return respond(_kept(key, view))


def outdate(key: str, version: int) -> None:
    """Say that what is stored under ``key`` is older than ``version``: the next reader asks the worker."""
    _kept_if_possible(lambda: cache.put(key, Stored(version, b"")))


def outdate_catalogue() -> None:
    """Say that every page of the catalogue is old."""
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
