"""Events that were published and never handled are found, and only they."""

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import pytest
from confluent_kafka import KafkaException, TopicPartition

from bridge import audit, kafka
from bridge.audit import Auditor
from bridge.deadletters import DeadLetters
from bridge.dispatch import Dispatcher
from bridge.lag import lag_of
from bridge.topics import Topics
from tests.bridge.past import course_published, enrollment_created, tell
from tests.gateway import running_worker
from tests.support.databases import Database
from tests.support.waiting import eventually

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
    """Put records on the topic of courses, which nobody consumes."""
    producer = kafka.producer()
    for number in range(count):
        producer.produce(f"{topics}courses", key=f"k{number}", value="{}")
    assert producer.flush(10) == 0


def ends_of_log() -> list[TopicPartition]:
    """Return the end of each partition; none while a group that is new has no coordinator yet."""
    try:
        return [TopicPartition(place.topic, place.partition, place.end) for place in lag_of("progress")]
    except KafkaException:
        return []


def pass_over() -> None:
    """Have the group of progress say that it has done everything."""
    places = eventually(ends_of_log, "the coordinator of the group", seconds=30)
    consumer = kafka.consumer("progress")
    consumer.commit(offsets=places, asynchronous=False)
    consumer.close()


def test_an_event_that_was_passed_over_is_handled(auditor: Auditor, database: Database):
    course_id = uuid4()
    tell(course_published(course_id), course_id, published_ago=LONG_AGO)

    auditor.audit("progress")  # sets the mark
    auditor.audit("progress")

    assert database.rows("SELECT course_id FROM progress.outlines") == [(course_id,)]
    assert database.count("bus.inbox") == 1


def test_an_event_whose_turn_has_not_come_is_left_to_its_consumer(auditor: Auditor, topics: str, database: Database):
    course_id = uuid4()
    tell(course_published(course_id), course_id, published_ago=LONG_AGO)
    publish(topics)

    for _ in range(3):
        auditor.audit("progress")
    assert database.count("progress.outlines") == 0

    pass_over()
    auditor.audit("progress")
    assert database.count("progress.outlines") == 1


def test_what_lies_with_people_and_what_is_done_is_left_alone(auditor: Auditor, database: Database, monkeypatch):
    buried, done = (tell(course_published(), uuid4(), published_ago=LONG_AGO) for _ in range(2))
    DeadLetters().bury("progress.keep_outline", buried, "it crashed")
    database.execute("INSERT INTO bus.inbox VALUES ('progress.keep_outline', :id, now())", id=done.event_id)
    monkeypatch.setattr(audit, "feed_until", lambda *_: pytest.fail("something was missed"))

    for _ in range(2):
        auditor.audit("progress")


def test_an_event_older_than_the_window_is_left_to_a_replay(auditor: Auditor, database: Database):
    tell(course_published(), uuid4(), published_ago=timedelta(days=2))

    for _ in range(2):
        auditor.audit("progress")

    assert database.count("progress.outlines") == 0


def test_event_that_waits_does_not_hold_up_the_audit_and_is_handled_later(
    auditor: Auditor, database: Database, monkeypatch
):
    monkeypatch.setattr(audit, "FEED_SECONDS", 0.5)
    early = enrollment_created()
    tell(early, early.enrollment_id, published_ago=LONG_AGO)
    auditor.audit("progress")  # sets the mark

    began = time.monotonic()
    auditor.audit("progress")
    assert time.monotonic() - began < 5
    assert database.count("progress.course_progress") == 0

    tell(course_published(early.course_id), early.course_id, published_ago=LONG_AGO)
    eventually(lambda: auditor.audit("progress") or database.count("progress.course_progress"), "the late event")
    assert database.count("bus.inbox") == 2
