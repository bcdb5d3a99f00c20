"""What the bridge tells Prometheus of queues, outboxes, dead letters, and of who has paid and has no access."""

import time
from datetime import timedelta
from uuid import uuid4

import pytest

import celery_app
from bridge import metrics
from bridge.deadletters import DeadLetters
from bridge.metrics import Bus
from models.base import now
from models.events import CoursePurchased
from models.redis import queue_redis
from tests.bridge.past import course_published, tell
from tests.support.databases import Database

MALFORMED = [b"not json", b"\xff", b"[]", b"{}", b'{"headers": null}', b'{"headers": {"envelope": {"sent_at": "now"}}}']


def told(name: str, **labels: str) -> float:
    [value] = [
        sample.value
        for metric in Bus().collect()
        for sample in metric.samples
        if sample.name == name and sample.labels.items() >= labels.items()
    ]
    return value


def test_a_queue_is_as_old_as_its_oldest_message(database: Database):
    for seconds in (30, 5):
        celery_app.send("users.show_me", {}, celery_app.Envelope(sent_at=time.time() - seconds))

    assert told("coursebus_queue_length", queue="users") == 2
    assert told("coursebus_queue_oldest_seconds", queue="users") == pytest.approx(30, abs=2)
    assert told("coursebus_queue_oldest_seconds", queue="courses") == 0


@pytest.mark.parametrize("message", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_message_at_the_head_of_a_queue_does_not_fail_the_scrape(database: Database, message: bytes):
    queue_redis().rpush("users", message)

    assert told("coursebus_queue_length", queue="users") == 1
    assert told("coursebus_queue_oldest_seconds", queue="users") == 0
    assert told("coursebus_outbox_pending", service="users") == 0


def test_an_outbox_is_as_old_as_its_oldest_event(database: Database):
    tell(course_published(), uuid4(), published_ago=None)
    database.execute("UPDATE bus.outbox SET created_at = now() - interval '40 s'")
    tell(course_published(), uuid4(), published_ago=timedelta(seconds=90))

    assert told("coursebus_outbox_pending", service="courses") == 1
    assert told("coursebus_outbox_oldest_seconds", service="courses") == pytest.approx(40, abs=2)


def test_dead_letters_are_counted_by_handler_where_there_are_none_too(database: Database):
    DeadLetters().bury("progress.keep_outline", tell(course_published(), uuid4()), "it crashed")

    assert told("coursebus_dead_letters", handler="progress.keep_outline") == 1
    assert told("coursebus_dead_letters", handler="payments.keep_offer") == 0


def purchased(*, published_ago: timedelta | None) -> str:
    bought = CoursePurchased(
        order_id=uuid4(), user_id=uuid4(), course_id=uuid4(), course_title="Sailing", purchased_at=now()
    )
    return tell(bought, bought.order_id, published_ago=published_ago).event_id


def test_whoever_has_paid_and_has_no_access_is_counted(database: Database):
    purchased(published_ago=timedelta(minutes=5))
    purchased(published_ago=None)  # Kafka is away
    purchased(published_ago=timedelta(seconds=5))  # on its way
    given = purchased(published_ago=timedelta(minutes=5))
    database.execute("INSERT INTO bus.inbox VALUES ('courses.grant_access', :id, now())", id=given)
    assert told("coursebus_paid_without_access") == 1

    database.execute("UPDATE bus.outbox SET created_at = now() - interval '2 min' WHERE published_at IS NULL")
    assert told("coursebus_paid_without_access") == 2


def test_a_scrape_without_redis_tells_the_rest(database: Database, monkeypatch):
    def away() -> None:
        raise metrics.RedisError

    monkeypatch.setattr(metrics, "_queues", away)

    assert told("coursebus_outbox_pending", service="users") == 0
