"""Reads through the cache: a hit touches no queue, and a cache that is away costs speed only."""

import functools
import hashlib
import time
from collections.abc import Callable
from typing import Any, TypeVar

from flask import Response, request
from redis.exceptions import RedisError

from models import cache
from models.cache import MISSING, Stored
from models.errors import NotFound, PreconditionFailed
from models.log import get_logger

from .etags import respond, respond_page
from .queue import ask

log = get_logger(__name__)

Found = TypeVar("Found")
View = TypeVar("View", bound=Callable[..., Any])

_WAIT_SECONDS = 2.0  # for another's flight; then everybody asks alone
_LOOK_SECONDS = 0.01


def cached(key: str, task: str, **message: Any) -> Response:
    """Answer with what is stored under ``key``; where nothing is, with what ``task`` shows, stored for the next one.

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

    return respond(_in_one_flight(key, lambda: _found(key), fetch))


def cached_page(view: View) -> View:
    """Answer a public list of the catalogue from the bytes stored for its very query, before the query is read."""

    @functools.wraps(view)
    def through_the_cache(*args: Any, **kwargs: Any) -> Response:
        key = f"page:{hashlib.sha256(request.full_path.encode()).hexdigest()}"
        version = 0

        def look() -> bytes | None:
            nonlocal version
            version, page = cache.get_page(key)
            return page

        def fetch() -> bytes:
            version_before = version  # a page made while the catalogue changes is of the version before
            response = view(*args, **kwargs)
            page = b"\n".join((response.headers.get("Link", "").encode(), response.get_data()))
            _kept_if_possible(lambda: cache.put_page(key, Stored(version_before, page)))
            return page

        return respond_page(_in_one_flight(key, look, fetch))

    return through_the_cache  # type: ignore[return-value]  # functools.wraps keeps the view's own type to itself


def _in_one_flight(key: str, look: Callable[[], Found | None], fetch: Callable[[], Found]) -> Found:
    """What ``look`` finds, or ``fetch`` brings: of those who miss at the same time, in all processes, one fetches."""
    until = time.monotonic() + _WAIT_SECONDS
    try:
        while (found := look()) is None:
            if cache.begin_flight(key):
                found = look()  # an earlier flight may have landed between our look and our start
                break
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
    finally:
        _kept_if_possible(lambda: cache.end_flight(key))


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
    _kept_if_possible(lambda: cache.put(cache.CATALOGUE, cache.catalogue_changed()))


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
