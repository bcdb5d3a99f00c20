"""Metrics of the bridge: queues, outboxes, dead letters, and purchases without access."""

import time
from datetime import timedelta
from uuid import uuid4

import pytest

from bridge import metrics
from bridge.consumer.dead_letter_store import DeadLetters
from bridge.metrics import BusCollector
from core.db import utc_now
from core.messaging import task_queue
from core.redis import queue_redis
from models.events import CoursePurchased
from tests.integration.bridge.event_builders import course_published, store_event
from tests.support.databases import Database

MALFORMED = [b"not json", b"\xff", b"[]", b"{}", b'{"headers": null}', b'{"headers": {"envelope": {"sent_at": "now"}}}']


def metric_value(name: str, **labels: str) -> float:
    [value] = [
        sample.value
        for metric in BusCollector().collect()
        for sample in metric.samples
        if sample.name == name and sample.labels.items() >= labels.items()
    ]
    return value


def test_queue_age_is_that_of_oldest_message(database: Database):
    for seconds in (30, 5):
        task_queue.enqueue("users.show_me", {}, task_queue.Envelope(sent_at=time.time() - seconds))

    assert metric_value("coursebus_queue_length", queue="users") == 2
    assert metric_value("coursebus_queue_oldest_seconds", queue="users") == pytest.approx(30, abs=2)
    assert metric_value("coursebus_queue_oldest_seconds", queue="courses") == 0


@pytest.mark.parametrize("message", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_queue_message_does_not_fail_the_scrape(database: Database, message: bytes):
    queue_redis().rpush("users", message)

    assert metric_value("coursebus_queue_length", queue="users") == 1
    assert metric_value("coursebus_queue_oldest_seconds", queue="users") == 0
    assert metric_value("coursebus_outbox_pending", service="users") == 0


def test_outbox_age_is_that_of_oldest_pending_event(database: Database):
    store_event(course_published(), uuid4(), published_ago=None)
    database.execute("UPDATE bus.outbox SET created_at = now() - interval '40 s'")
    store_event(course_published(), uuid4(), published_ago=timedelta(seconds=90))

    assert metric_value("coursebus_outbox_pending", service="courses") == 1
    assert metric_value("coursebus_outbox_oldest_seconds", service="courses") == pytest.approx(40, abs=2)


def test_dead_letter_metric_includes_handlers_with_none(database: Database):
    DeadLetters().store("progress.upsert_outline", store_event(course_published(), uuid4()), "it crashed")

    assert metric_value("coursebus_dead_letters", handler="progress.upsert_outline") == 1
    assert metric_value("coursebus_dead_letters", handler="payments.upsert_offer") == 0


def store_purchase(*, published_ago: timedelta | None) -> str:
    bought = CoursePurchased(
        order_id=uuid4(), user_id=uuid4(), course_id=uuid4(), course_title="Sailing", purchased_at=utc_now()
    )
    return store_event(bought, bought.order_id, published_ago=published_ago).event_id


def test_paid_without_access_metric(database: Database):
    store_purchase(published_ago=timedelta(minutes=5))
    store_purchase(published_ago=None)  # not published, as while Kafka is down
    store_purchase(published_ago=timedelta(seconds=5))  # still being delivered
    granted = store_purchase(published_ago=timedelta(minutes=5))
    database.execute("INSERT INTO bus.inbox VALUES ('courses.grant_access', :id, now())", id=granted)
    assert metric_value("coursebus_paid_without_access") == 1

    database.execute("UPDATE bus.outbox SET created_at = now() - interval '2 min' WHERE published_at IS NULL")
    assert metric_value("coursebus_paid_without_access") == 2


def test_scrape_without_redis_exports_other_metrics(database: Database, monkeypatch):
    def fail() -> None:
        raise metrics.RedisError

    monkeypatch.setattr(metrics, "_queues", fail)

    assert metric_value("coursebus_outbox_pending", service="users") == 0
