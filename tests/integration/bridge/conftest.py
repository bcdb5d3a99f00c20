from collections.abc import Iterator
from threading import Event

import pytest

import settings
from bridge.consumer import dispatch
from bridge.consumer.dead_letter_store import DeadLetters
from bridge.consumer.dispatch import Dispatcher
from core.redis import queue_redis
from tests.integration.bridge.fake_worker import SERVICE, Done, Worker
from tests.integration.bridge.kafka_probe import KafkaProbe
from tests.support.databases import Database


@pytest.fixture
def kafka_probe(topics: str) -> KafkaProbe:
    return KafkaProbe()


@pytest.fixture
def worker(database: Database) -> Iterator[Worker]:
    queue_redis().delete(f"unacked:{SERVICE}")
    yield Worker()
    queue_redis().delete(f"unacked:{SERVICE}", SERVICE)


@pytest.fixture
def done() -> Done:
    return Done()


@pytest.fixture
def dispatcher(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dispatcher]:
    monkeypatch.setattr(dispatch, "REPLY_TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(dispatch, "LOST_CHECK_SECONDS", 0.1)
    monkeypatch.setattr(dispatch, "UNACKED_TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(dispatch, "MAX_BACKOFF_SECONDS", 0.2)
    monkeypatch.setattr(settings, "EVENTS_PER_MESSAGE", 1)  # test_grouped_events.py has other values
    stop = Event()
    running = Dispatcher(stop, DeadLetters())
    running.start()
    yield running
    stop.set()
    running.join()
