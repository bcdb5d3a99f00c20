"""Single resources through the cache: a hit touches no queue, and a cache that is away costs speed only."""

from typing import Any

from flask import Response
from redis.exceptions import RedisError

from models import cache
from models.cache import Stored
from models.errors import PreconditionFailed
from models.log import get_logger

from .etags import respond
from .queue import ask

log = get_logger(__name__)


def cached(key: str, task: str, **message: Any) -> Response:
    """Answer with what is stored under ``key``; where nothing is, with what ``task`` shows, stored for the next one.

    ``task`` answers with a view that has its ``version``. Raises what ``ask`` raises.
    """
    return respond(_found(key) or _kept(key, ask(task, **message)))


def changed(key: str, task: str, **message: Any) -> Response:
    """Have ``task`` change the resource stored under ``key``, and answer with its new view.

    It is stored before the client hears of it, so that it reads its own write.
    """
    try:
        view = ask(task, **message)
    except PreconditionFailed:
        # Perhaps the stored view misled the client: a worker's word on a change may have missed the cache.
        _forget(key)
        raise
    return respond(_kept(key, view))


def outdate(key: str, version: int) -> None:
    """Say that what is stored under ``key`` is older than ``version``: the next reader asks the worker."""
    try:
        cache.put(key, Stored(version, b""))
    except RedisError as error:
        log.warning("cache is away", reason=str(error))


def _found(key: str) -> Stored | None:
    try:
        return cache.get(key)
    except RedisError as error:
        log.warning("cache is away", reason=str(error))
        return None


def _kept(key: str, view: dict[str, Any]) -> Stored:
    stored = Stored.of(view)
    try:
        cache.put(key, stored)
    except RedisError as error:
        log.warning("cache is away", reason=str(error))
    return stored


def _forget(key: str) -> None:
    try:
        cache.forget(key)
    except RedisError as error:
        log.warning("cache is away", reason=str(error))
