"""Events older than the inbox retention are not delivered again: they would revert the state of a handler."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import ConfigResource

import settings
from bridge import kafka
from bridge.admin.past_events import iter_past_events
from bridge.consumer import service_consumer
from bridge.topics import Topics
from core.db import new_id, utc_now
from models.events import (
    CoursePublished,
    CourseUpdated,
    EnrollmentCreated,
    EnrollmentEnded,
    Event,
    PublishedLesson,
    PublishedSection,
)
from tests.integration.bridge.kafka_probe import KafkaProbe
from tests.integration.bridge.test_relay import publisher
from tests.support.databases import Database
from tests.support.deliveries import deliver
from tests.support.events import build_event
from tests.support.polling import eventually

StoredEvents = list[tuple[UUID, str, Event]]


@pytest.fixture
def publish_history(database: Database) -> Callable[..., StoredEvents]:
    """Return a function that publishes and handles events, each some days ago, and then prunes old rows."""

    def publish(*history: tuple[str, Event, int], key: UUID) -> StoredEvents:
        stored_events = []
        for version, (handler, event, days) in enumerate(history, 1):
            event_id = new_id()
            database.execute(
                """INSERT INTO bus.outbox (id, aggregatetype, aggregateid, aggregate_version, type, payload, headers,
                                           created_at, published_at)
                   VALUES (:id, :topic, :key, :version, :type, CAST(:payload AS jsonb), '{}', :at, :at)""",
                id=event_id,
                topic=event.topic,
                key=str(key),
                version=version,
                type=event.type,
                payload=msgspec.json.encode(event).decode(),
                at=utc_now() - timedelta(days=days),
            )
            assert deliver(handler, {"event": event}, event_id=event_id)["result"] is None
            database.execute(
                "UPDATE bus.inbox SET handled_at = :at WHERE event_id = :id",
                at=utc_now() - timedelta(days=days),
                id=event_id,
            )
            stored_events.append((event_id, handler, event))
        for service in {handler.partition(".")[0] for handler, _, _ in history}:
            deliver(f"{service}.prune_bus")
        return stored_events

    return publish


def by_refill(database: Database) -> Iterator[UUID]:
    with publisher(database) as by_hand:
        while batch := by_hand.refills.batch():
            yield from (UUID(row.id) for row in batch.rows)
            by_hand.refills.save_position(batch)


def by_past_events(_database: Database) -> Iterator[UUID]:
    """Yield the events that the audit and ``replay --handler`` read."""
    yield from (UUID(record.event_id) for record in iter_past_events("courses"))


@pytest.fixture(params=[by_refill, by_past_events])
def redeliver(request: Any, database: Database, kafka_probe: KafkaProbe) -> Callable[[StoredEvents], int]:
    """Return a function that redelivers events to their handlers and returns their number."""

    def repeat(stored_events: StoredEvents) -> int:
        handled = {event_id: (handler, event) for event_id, handler, event in stored_events}
        redelivered = list(request.param(database))
        for event_id in redelivered:
            handler, event = handled[event_id]
            deliver(handler, {"event": event}, event_id=event_id)
        return len(redelivered)

    return repeat


def test_log_loss_does_not_revert_a_price(database: Database, publish_history, redeliver):
    course = new_id()
    priced = {"course_id": course, "currency": "USD", "title": "Sailing"}
    stored_events = publish_history(
        ("payments.upsert_offer", build_event(CoursePublished, course_version=1, price_minor=1000, **priced), 60),
        ("payments.update_offer", build_event(CourseUpdated, price_minor=1000, on_sale=True, **priced), 50),
        ("payments.update_offer", build_event(CourseUpdated, price_minor=9900, on_sale=True, **priced), 5),
        key=course,
    )

    assert redeliver(stored_events) == 1

    assert database.value("SELECT amount_minor FROM payments.offers WHERE course_id = :course", course=course) == 9900


def test_log_loss_does_not_close_a_reopened_course(database: Database, publish_history, redeliver):
    learner = {"course_id": new_id(), "user_id": new_id()}
    lesson = PublishedLesson(lesson_id=new_id(), title="Knots")
    sections = [PublishedSection(section_id=new_id(), lessons=[lesson])]
    published = build_event(CoursePublished, course_id=learner["course_id"], course_version=1, sections=sections)
    stored_events = publish_history(
        ("progress.upsert_outline", published, 90),
        ("progress.start_course", build_event(EnrollmentCreated, **learner), 60),
        ("progress.close_course_progress", build_event(EnrollmentEnded, **learner), 50),
        ("progress.start_course", build_event(EnrollmentCreated, **learner), 5),
        key=learner["course_id"],
    )

    assert redeliver(stored_events) == 1

    assert database.rows("SELECT closed_at FROM progress.course_progress") == [(None,)]


@pytest.mark.parametrize(("days", "taken"), [(15, 1), (17, 0)])
def test_record_older_than_inbox_retention_is_skipped(days: int, taken: int):
    class Message:
        def timestamp(self) -> tuple[int, int]:
            return 1, int((time.time() - days * 24 * 3600) * 1000)

        def headers(self) -> list[tuple[str, bytes]]:
            return [("ce_id", str(new_id()).encode()), ("ce_type", b"COURSE_UPDATED")]

        topic = partition = offset = key = value = lambda _: b"{}"

    assert bool(service_consumer.Arrival(Message()).record()) == bool(taken)  # type: ignore[arg-type]


def test_topic_retention_is_shorter_than_inbox_retention(topics: str):
    Topics().ensure()
    resource = ConfigResource(ConfigResource.Type.TOPIC, kafka.topic_of("courses"))
    admin = kafka.admin()  # must stay alive until the result is read

    def described() -> dict[str, str | None]:
        [result] = admin.describe_configs([resource]).values()
        try:
            return {name: entry.value for name, entry in result.result(timeout=10).items()}
        except KafkaException:  # some brokers of a cluster do not know a new topic yet
            return {}

    config = eventually(described, "the settings of the topic")
    assert int(config["retention.ms"]) == 14 * 24 * 3600 * 1000
    assert int(config["max.message.bytes"]) > kafka.MESSAGE_MAX_BYTES
    assert config["min.insync.replicas"] == ("2" if settings.KAFKA_REPLICATION == 3 else "1")
