"""A worker that is up but deaf ends itself; one that is busy, alone or without Redis does not."""

from types import SimpleNamespace

import msgspec
import pytest
from celery.worker import state

import celery_app
from models.redis import queue_redis
from workers import _canary
from workers._canary import DEAF_AFTER, Canary

QUEUE = "progress"


@pytest.fixture(autouse=True)
def empty_queue():
    queue_redis().delete(QUEUE)
    yield
    queue_redis().delete(QUEUE)


@pytest.fixture
def ended() -> list[str]:
    return []


@pytest.fixture
def canary(ended: list[str]) -> Canary:
    return Canary(QUEUE, end=lambda: ended.append("ended"))


def test_a_silent_queue_is_pinged_once(canary: Canary) -> None:
    canary.look()
    canary.look()
    [message] = queue_redis().lrange(QUEUE, 0, -1)
    assert msgspec.json.decode(message)["headers"]["task"] == "progress.ping"


def test_a_worker_that_leaves_its_ping_where_it_is_ends(canary: Canary, ended: list[str]) -> None:
    for _ in range(DEAF_AFTER):
        canary.look()
    assert not ended
    canary.look()
    assert ended


def test_one_whose_pings_are_heard_by_another_lives_on(canary: Canary, ended: list[str]) -> None:
    for _ in range(3 * DEAF_AFTER):
        canary.look()
        queue_redis().delete(QUEUE)
    assert not ended


def test_one_that_is_busy_lives_on(canary: Canary, ended: list[str], monkeypatch) -> None:
    monkeypatch.setattr(state, "reserved_requests", {"a long one"})
    celery_app.send("progress.ping", {}, celery_app.Envelope())
    for _ in range(3 * DEAF_AFTER):
        canary.look()
    assert not ended


def test_one_without_redis_lives_on(canary: Canary, ended: list[str], monkeypatch) -> None:
    canary.look()
    unreachable = SimpleNamespace(llen=_refuse)
    monkeypatch.setattr(_canary, "queue_redis", lambda: unreachable)
    for _ in range(3 * DEAF_AFTER):
        canary.look()
    assert not ended


def _refuse(_queue: str) -> int:
    raise _canary.RedisError
