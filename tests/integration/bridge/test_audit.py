"""The audit finds published events that were never handled, and no other events."""

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import pytest
from confluent_kafka import KafkaException, TopicPartition

from bridge import kafka
from bridge.admin import audit
from bridge.admin.audit import Auditor
from bridge.admin.lag import consumer_lag
from bridge.consumer.dead_letter_store import DeadLetters
from bridge.consumer.dispatch import Dispatcher
from bridge.topics import Topics
from tests.integration.bridge.event_builders import course_published, enrollment_created, store_event
from tests.support.databases import Database
from tests.support.gateway import running_worker
from tests.support.polling import eventually

LONG_AGO = timedelta(minutes=5)


@pytest.fixture
def auditor(database: Database, topics: str) -> Iterator[Auditor]:
    Topics().ensure()
    stop = threading.Event()
    dispatcher = Dispatcher(stop, DeadLetters())
    dispatcher.start()
    with running_worker("progress"):
        yield Auditor(dispatcher, stop)
    stop.set()
    dispatcher.join()


def publish(topics: str, count: int = 1) -> None:
    """Produce records on the topic of courses, which has no consumer in these tests."""
    producer = kafka.producer()
    for number in range(count):
        producer.produce(f"{topics}courses", key=f"k{number}", value="{}")
    assert producer.flush(10) == 0


def ends_of_log() -> list[TopicPartition]:
    """Return the end of each partition, or an empty list while the new group has no coordinator."""
    try:
        return [TopicPartition(place.topic, place.partition, place.end) for place in consumer_lag("progress")]
    except KafkaException:
        return []


def commit_end_offsets() -> None:
    """Commit the end offsets for the group of progress, as if it had handled everything."""
    offsets = eventually(ends_of_log, "the coordinator of the group")
    consumer = kafka.consumer("progress")
    consumer.commit(offsets=offsets, asynchronous=False)
    consumer.close()


def test_skipped_event_is_handled(auditor: Auditor, database: Database):
    course_id = uuid4()
    store_event(course_published(course_id), course_id, published_ago=LONG_AGO)

    auditor.audit("progress")  # sets the audit mark
    auditor.audit("progress")

    assert database.rows("SELECT course_id FROM progress.outlines") == [(course_id,)]
    assert database.count("bus.inbox") == 1


def test_event_beyond_committed_offset_is_left_to_consumer(auditor: Auditor, topics: str, database: Database):
    course_id = uuid4()
    store_event(course_published(course_id), course_id, published_ago=LONG_AGO)
    publish(topics)

    for _ in range(3):
        auditor.audit("progress")
    assert database.count("progress.outlines") == 0

    commit_end_offsets()
    auditor.audit("progress")
    assert database.count("progress.outlines") == 1


def test_dead_letters_and_handled_events_are_skipped(auditor: Auditor, database: Database, monkeypatch):
    dead_lettered, handled = (store_event(course_published(), uuid4(), published_ago=LONG_AGO) for _ in range(2))
    DeadLetters().store("progress.upsert_outline", dead_lettered, "it crashed")
    database.execute("INSERT INTO bus.inbox VALUES ('progress.upsert_outline', :id, now())", id=handled.event_id)
    monkeypatch.setattr(audit, "redeliver_until", lambda *_: pytest.fail("an event was redelivered"))

    for _ in range(2):
        auditor.audit("progress")


def test_event_older_than_audit_window_is_ignored(auditor: Auditor, database: Database):
    store_event(course_published(), uuid4(), published_ago=timedelta(days=2))

    for _ in range(2):
        auditor.audit("progress")

    assert database.count("progress.outlines") == 0


def test_waiting_event_does_not_block_audit(auditor: Auditor, database: Database, monkeypatch):
    monkeypatch.setattr(audit, "REDELIVERY_SECONDS", 0.5)
    early = enrollment_created()
    store_event(early, early.enrollment_id, published_ago=LONG_AGO)
    auditor.audit("progress")  # sets the audit mark

    began = time.monotonic()
    auditor.audit("progress")
    assert time.monotonic() - began < 5
    assert database.count("progress.course_progress") == 0

    store_event(course_published(early.course_id), early.course_id, published_ago=LONG_AGO)
    eventually(lambda: auditor.audit("progress") or database.count("progress.course_progress"), "the late event")
    assert database.count("bus.inbox") == 2
