"""When a stream ends."""

import time
from collections.abc import Iterator
from uuid import uuid4

import pytest

from api.tokens import Claims
from models import cache
from models.accounts import AccountState
from models.cache import Stored
from models.redis import cache_redis
from stream import server
from stream.hub import Listener

USER_ID = str(uuid4())
HEARTBEAT = b": still here\n\n"


class EmptyFeed:
    def after(self, _user_id: str, _position: int) -> list[object]:
        return []


@pytest.fixture
def sub(monkeypatch) -> Iterator[str]:
    monkeypatch.setattr(server, "HEARTBEAT_SECONDS", 0)
    sub = f"auth0|{uuid4().hex}"
    yield sub
    cache_redis().delete(cache.identity_key(sub), cache.profile_key(USER_ID))


def opened(sub: str) -> Iterator[bytes]:
    """A stream that has begun."""
    claims = Claims(
        roles=(),
        sub=sub,
        permissions=frozenset(),
        email=None,
        name=None,
        email_verified=False,
        machine=False,
        issued_at=0,
        expires_at=time.time() + 60,
    )
    events = server._events(EmptyFeed(), Listener(), USER_ID, 0, claims)  # noqa: SLF001 what a response iterates over
    assert next(events).startswith(b"retry:")
    return events


def account(**state) -> bytes:
    return AccountState(user_id=uuid4(), **state).encode()


def test_stream_ends_when_its_account_is_blocked(sub: str):
    cache.put(cache.identity_key(sub), Stored(1, account()))
    events = opened(sub)
    assert next(events) == HEARTBEAT

    cache.put(cache.identity_key(sub), Stored(2, account(blocked=True)))

    assert list(events) == []


def test_stream_ends_when_its_account_is_erased(sub: str):
    cache.put(cache.profile_key(USER_ID), Stored(3, b"{}"))
    events = opened(sub)
    assert next(events) == HEARTBEAT

    cache.put(cache.profile_key(USER_ID), Stored(cache.ERASED, b""))

    assert list(events) == []


def test_stream_of_a_new_account_goes_on_though_the_old_one_of_its_sub_was_erased(sub: str):
    cache.put(cache.identity_key(sub), Stored(7, b""))

    assert next(opened(sub)) == HEARTBEAT


def test_stream_goes_on_while_the_cache_knows_nothing_of_the_account(sub: str):
    events = opened(sub)

    assert [next(events), next(events)] == [HEARTBEAT, HEARTBEAT]


def test_stream_goes_on_while_the_cache_is_away(sub: str, monkeypatch):
    events = opened(sub)

    def away(_key: str) -> None:
        raise server.RedisError

    monkeypatch.setattr(cache, "get", away)

    assert next(events) == HEARTBEAT
