"""Events that an inbox has forgotten are not given to a handler again: they would turn its state back."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import ConfigResource

from bridge import consume, kafka
from bridge.feed import past_events
from bridge.topics import Topics
from models.base import new_id, now
from models.events import (
    CoursePublished,
    CourseUpdated,
    EnrollmentCreated,
    EnrollmentEnded,
    Event,
    PublishedLesson,
    PublishedSection,
)
from tests.bridge.test_relay import publisher
from tests.bridge.wire import Wire
from tests.support.databases import Database
from tests.support.deliveries import deliver
from tests.support.events import some
from tests.support.waiting import eventually

Told = list[tuple[UUID, str, Event]]


@pytest.fixture
def happened(database: Database) -> Callable[..., Told]:
    """Publish and handle events as they happened, each some days ago, and prune what is old."""

    def happen(*history: tuple[str, Event, int], key: UUID) -> Told:
        told = []
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
                at=now() - timedelta(days=days),
            )
            assert deliver(handler, {"event": event}, event_id=event_id)["result"] is None
            database.execute(
                "UPDATE bus.inbox SET handled_at = :at WHERE event_id = :id",
                at=now() - timedelta(days=days),
                id=event_id,
            )
            told.append((event_id, handler, event))
        for service in {handler.partition(".")[0] for handler, _, _ in history}:
            deliver(f"{service}.prune_bus")
        return told

    return happen


def by_refill(database: Database) -> Iterator[UUID]:
    with publisher(database) as by_hand:
        while batch := by_hand.refills.batch():
            yield from (row.id for row in batch.rows)
            by_hand.refills.keep_place(batch)


def by_feed(_database: Database) -> Iterator[UUID]:
    """As the audit and ``replay --handler`` read them."""
    yield from (UUID(record.event_id) for record in past_events("courses"))


@pytest.fixture(params=[by_refill, by_feed])
def repeated(request: Any, database: Database, wire: Wire) -> Callable[[Told], int]:
    """Give the handlers what comes again; returns how many events that were."""

    def repeat(told: Told) -> int:
        handled = {event_id: (handler, event) for event_id, handler, event in told}
        again = list(request.param(database))
        for event_id in again:
            handler, event = handled[event_id]
            deliver(handler, {"event": event}, event_id=event_id)
        return len(again)

    return repeat


def test_a_lost_log_does_not_turn_a_price_back(database: Database, happened, repeated):
    course = new_id()
    priced = {"course_id": course, "currency": "USD", "title": "Sailing"}
    told = happened(
        ("payments.keep_offer", some(CoursePublished, course_version=1, price_minor=1000, **priced), 60),
        ("payments.change_offer", some(CourseUpdated, price_minor=1000, on_sale=True, **priced), 50),
        ("payments.change_offer", some(CourseUpdated, price_minor=9900, on_sale=True, **priced), 5),
        key=course,
    )

    assert repeated(told) == 1

    assert database.value("SELECT amount_minor FROM payments.offers WHERE course_id = :course", course=course) == 9900


def test_a_lost_log_does_not_close_a_course_that_was_opened_again(database: Database, happened, repeated):
    learner = {"course_id": new_id(), "user_id": new_id()}
    lesson = PublishedLesson(lesson_id=new_id(), title="Knots")
    sections = [PublishedSection(section_id=new_id(), lessons=[lesson])]
    published = some(CoursePublished, course_id=learner["course_id"], course_version=1, sections=sections)
    told = happened(
        ("progress.keep_outline", published, 90),
        ("progress.start_course", some(EnrollmentCreated, **learner), 60),
        ("progress.close_course", some(EnrollmentEnded, **learner), 50),
        ("progress.start_course", some(EnrollmentCreated, **learner), 5),
        key=learner["course_id"],
    )

    assert repeated(told) == 1

    assert database.rows("SELECT closed_at FROM progress.course_progress") == [(None,)]


@pytest.mark.parametrize(("days", "taken"), [(15, 1), (17, 0)])
def test_a_record_that_may_be_older_than_the_inbox_is_passed_over(days: int, taken: int):
    class Message:
        def timestamp(self) -> tuple[int, int]:
            return 1, int((time.time() - days * 24 * 3600) * 1000)

        def headers(self) -> list[tuple[str, bytes]]:
            return [("ce_id", str(new_id()).encode()), ("ce_type", b"COURSE_UPDATED")]

        topic = partition = offset = key = value = lambda _: b"{}"

    assert bool(consume.Arrival(Message()).record()) == bool(taken)  # type: ignore[arg-type]


def test_topics_forget_before_the_inbox_does(topics: str):
    Topics().ensure()
    resource = ConfigResource(ConfigResource.Type.TOPIC, kafka.topic_of("courses"))
    admin = kafka.admin()  # which must outlive the question

    def described() -> dict[str, str | None]:
        [answer] = admin.describe_configs([resource]).values()
        try:
            return {name: entry.value for name, entry in answer.result(timeout=10).items()}
        except KafkaException:  # of several brokers, some learn of a new topic a moment later
            return {}

    config = eventually(described, "the settings of the topic")
    assert int(config["retention.ms"]) == 14 * 24 * 3600 * 1000
    assert int(config["max.message.bytes"]) > kafka.MESSAGE_MAX_BYTES
