"""The sign-in of the pages, with sessions in Redis."""

import pytest
from werkzeug.test import Client

import settings
import web
from core.redis import cache_redis
from web import sign_in


@pytest.fixture
def visitor(monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setattr(settings, "RATE_LIMITS", True)
    monkeypatch.setattr(sign_in, "_STARTS_PER_MINUTE", 2)
    cache_redis().flushdb()
    return Client(web.create_app(), use_cookies=False)


def start(visitor: Client, address: str) -> int:
    return visitor.get("/sign-in", environ_overrides={"REMOTE_ADDR": address}).status_code


def test_one_address_cannot_fill_redis_with_sessions(visitor):
    """Each sign-in that starts has a session, whether the identity provider can be reached or not."""
    answers = [start(visitor, "192.0.2.1") for _ in range(5)]

    assert answers.count(429) >= 1  # two of them, if the minute changes in between
    assert len(cache_redis().keys("web:session:*")) == 5 - answers.count(429)
    assert start(visitor, "192.0.2.2") != 429
