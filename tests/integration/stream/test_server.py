"""The conditions under which a stream ends."""

import time
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from api.tokens import Claims
from core import cache
from core.cache import CachedView
from core.redis import cache_redis
from models.accounts import AccountState
from stream import server
from stream.hub import StreamSubscriber, SubscriptionHub
from tests.support.gateway import Person, cache_account, gateway, problem, trust_test_tokens

USER_ID = str(uuid4())
HEARTBEAT = b": heartbeat\n\n"


class EmptyInbox:
    def list_after(self, _user_id: str, _position: int) -> list[object]:
        return []


@pytest.fixture
def sub(monkeypatch) -> Iterator[str]:
    monkeypatch.setattr(server, "HEARTBEAT_SECONDS", 0)
    sub = f"auth0|{uuid4().hex}"
    yield sub
    cache_redis().delete(cache.identity_key(sub), cache.profile_key(USER_ID))


def open_stream(sub: str) -> Iterator[bytes]:
    """Return the events of a stream after its first message."""
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
    events = server._events(EmptyInbox(), StreamSubscriber(), USER_ID, 0, claims)  # noqa: SLF001 the iterator of the response
    assert next(events).startswith(b"retry:")
    return events


def account(**state) -> bytes:
    return AccountState(user_id=uuid4(), **state).encode()


def test_stream_ends_when_its_account_is_blocked(sub: str):
    cache.put(cache.identity_key(sub), CachedView(1, account()))
    events = open_stream(sub)
    assert next(events) == HEARTBEAT

    cache.put(cache.identity_key(sub), CachedView(2, account(blocked=True)))

    assert list(events) == []


def test_stream_ends_when_its_account_is_erased(sub: str):
    cache.put(cache.profile_key(USER_ID), CachedView(3, b"{}"))
    events = open_stream(sub)
    assert next(events) == HEARTBEAT

    cache.put(cache.profile_key(USER_ID), CachedView(cache.ERASED_VERSION, b""))

    assert list(events) == []


def test_stream_of_recreated_account_continues(sub: str):
    cache.put(cache.identity_key(sub), CachedView(7, b""))

    assert next(open_stream(sub)) == HEARTBEAT


def test_stream_continues_without_cached_account_state(sub: str):
    events = open_stream(sub)

    assert [next(events), next(events)] == [HEARTBEAT, HEARTBEAT]


def test_stream_continues_when_cache_is_down(sub: str, monkeypatch):
    events = open_stream(sub)

    def fail(_key: str) -> None:
        raise server.RedisError

    monkeypatch.setattr(cache, "get", fail)

    assert next(events) == HEARTBEAT


@pytest.fixture
def caller(monkeypatch, sub: str) -> Person:
    trust_test_tokens(monkeypatch)
    person = Person(gateway().test_client(), sub=sub)
    cache_account(person)
    return person


class NewInbox(EmptyInbox):
    def latest_position(self, _user_id: str) -> int:
        return 0


def test_ticket_opens_one_stream(caller: Person, capsys: pytest.CaptureFixture[str]):
    stream = server.create_app(SubscriptionHub(), NewInbox()).test_client()
    created = caller.send("POST", "/v1/me/notifications/stream-ticket")
    path = urlsplit(created.json["url"])._replace(scheme="", netloc="").geturl()

    first = stream.get(path)
    second = stream.get(path)

    assert (created.status_code, first.status_code, first.mimetype) == (201, 200, "text/event-stream")
    assert next(first.response).startswith(b"retry:")
    first.close()
    assert problem(second) == (401, "token_invalid")
    assert problem(stream.get(server.PATH)) == (401, "token_missing")
    assert problem(replace(caller, client=stream).get(f"{server.PATH}?other=1")) == (422, "validation_failed")
    assert created.json["ticket"] not in capsys.readouterr().err
    assert not any(created.json["ticket"].encode() in key for key in cache_redis().keys("*"))
