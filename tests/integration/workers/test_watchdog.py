"""The watchdog ends a worker that stopped consuming, but not a busy or idle worker, or one without Redis."""

from types import SimpleNamespace

import msgspec
import pytest
from celery.worker import state

from core.messaging import task_queue
from core.redis import queue_redis
from workers.runtime import watchdog
from workers.runtime.watchdog import MAX_MISSED_CHECKS, QueueWatchdog

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
def queue_watchdog(ended: list[str]) -> QueueWatchdog:
    return QueueWatchdog(QUEUE, terminate=lambda: ended.append("ended"))


def test_empty_queue_is_pinged_once(queue_watchdog: QueueWatchdog) -> None:
    queue_watchdog.check()
    queue_watchdog.check()
    [message] = queue_redis().lrange(QUEUE, 0, -1)
    assert msgspec.json.decode(message)["headers"]["task"] == "progress.ping"


def test_worker_that_does_not_consume_its_ping_is_ended(queue_watchdog: QueueWatchdog, ended: list[str]) -> None:
    for _ in range(MAX_MISSED_CHECKS):
        queue_watchdog.check()
    assert not ended
    queue_watchdog.check()
    assert ended


def test_watchdog_ignores_pings_taken_by_other_worker(queue_watchdog: QueueWatchdog, ended: list[str]) -> None:
    for _ in range(3 * MAX_MISSED_CHECKS):
        queue_watchdog.check()
        queue_redis().delete(QUEUE)
    assert not ended


def test_busy_worker_is_not_ended(queue_watchdog: QueueWatchdog, ended: list[str], monkeypatch) -> None:
    monkeypatch.setattr(state, "reserved_requests", {"a long one"})
    task_queue.enqueue("progress.ping", {}, task_queue.Envelope())
    for _ in range(3 * MAX_MISSED_CHECKS):
        queue_watchdog.check()
    assert not ended


def test_worker_is_not_ended_when_redis_is_down(queue_watchdog: QueueWatchdog, ended: list[str], monkeypatch) -> None:
    queue_watchdog.check()
    unreachable = SimpleNamespace(llen=_refuse)
    monkeypatch.setattr(watchdog, "queue_redis", lambda: unreachable)
    for _ in range(3 * MAX_MISSED_CHECKS):
        queue_watchdog.check()
    assert not ended


def _refuse(_queue: str) -> int:
    raise watchdog.RedisError
