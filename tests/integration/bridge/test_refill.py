"""A lost log is refilled from the outbox: in batches, after new events, and only within the retention period."""

from datetime import timedelta
from uuid import uuid4

import pytest

import settings
from bridge import cli, kafka
from bridge.publisher import refill, relay
from bridge.publisher.refill import request_refill
from core.db import utc_now
from tests.integration.bridge.event_builders import course_published
from tests.integration.bridge.event_builders import store_event as store_past_event
from tests.integration.bridge.harness import UNPUBLISHED, running_relay, wait_until_published
from tests.integration.bridge.kafka_probe import SERVICE, KafkaProbe, SampleAggregate, publish
from tests.integration.bridge.test_relay import publisher
from tests.support.databases import Database
from tests.support.polling import eventually

RUNNING_REFILLS = "SELECT count(*) FROM bus.kafka_topics WHERE refill_until IS NOT NULL"
# Inserts LESSON_COMPLETED events of many keys, published an hour ago.
STORE_MANY_EVENTS = """
    INSERT INTO bus.outbox (id, aggregatetype, aggregateid, aggregate_version, type, payload, headers, created_at,
                            published_at)
    SELECT gen_random_uuid(), 'progress', 'many-' || n, 1, 'LESSON_COMPLETED', '{"lessons_completed": 3}', '{}',
           now() - interval '1 h', now() - interval '1 h'
    FROM generate_series(1, :count) AS n"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "CHECK_SECONDS", 0.1)
    monkeypatch.setattr(relay, "POLL_SECONDS", 0.05)


def wait_until_refilled(database: Database) -> None:
    """Wait for the end of the refill; fail if it stands still for a minute."""
    position = refill_position(database)
    while position:
        position = eventually(lambda before=position: new_position(database, before), "the refill", seconds=60)[0]


def new_position(database: Database, before: int) -> list[int]:
    """Return the position of the refill, 0 after its end, or nothing if it is unchanged."""
    position = refill_position(database)
    return [position] if position != before else []


def refill_position(database: Database) -> int:
    return int(database.value("SELECT coalesce(max(refill_after), 0) FROM bus.kafka_topics"))


def test_new_event_is_not_delayed_by_refill(database: Database, kafka_probe: KafkaProbe):
    database.execute(STORE_MANY_EVENTS, count=20_000)
    key = SampleAggregate()

    with running_relay(database):
        eventually(lambda: database.value(RUNNING_REFILLS) == 1, "the refill")
        publish(key)
        eventually(lambda: database.value(UNPUBLISHED) == 0, "the new event", seconds=60)
        assert database.value(RUNNING_REFILLS) == 1, "the refill ended before the new event was published"
        wait_until_refilled(database)

    refilled = database.value("SELECT refill_sent FROM bus.kafka_topics WHERE topic = :topic", topic=kafka_probe.topic)
    keys = [message.key for message in kafka_probe.messages()]
    assert refilled == 20_000
    assert len(keys) == len(set(keys)) == 20_001


def test_new_leader_resumes_refill(database: Database, kafka_probe: KafkaProbe, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(refill, "BATCH", 100)
    database.execute(STORE_MANY_EVENTS, count=1000)

    with publisher(database) as first:
        for _ in range(4):
            first.refill()
        left_at = refill_position(database)
    with publisher(database) as second:
        assert refill_position(database) == left_at
        while second.refill():
            pass

    assert database.value(RUNNING_REFILLS) == 0
    assert len(kafka_probe.messages()) == 1000


def test_refill_does_not_modify_outbox(database: Database, kafka_probe: KafkaProbe):
    database.execute(STORE_MANY_EVENTS, count=100)
    before = database.rows("SELECT xmin::text, seq FROM bus.outbox ORDER BY seq")

    with running_relay(database):
        eventually(lambda: len(kafka_probe.messages()) == 100, "the refill")
        wait_until_refilled(database)

    assert database.rows("SELECT xmin::text, seq FROM bus.outbox ORDER BY seq") == before


def test_new_event_does_not_overtake_refilled_events_of_its_key(
    database: Database, kafka_probe: KafkaProbe, monkeypatch
):
    monkeypatch.setattr(refill, "BATCH", 10)
    key = SampleAggregate()
    database.execute(STORE_MANY_EVENTS, count=100)
    for _ in range(3):
        publish(key)
    database.execute("UPDATE bus.outbox SET published_at = now() WHERE published_at IS NULL")
    with publisher(database) as manual_publisher:
        manual_publisher.refill()
        publish(key)
        manual_publisher.publish()
        while manual_publisher.refill():
            pass

    assert kafka_probe.sequences(key) == [1, 2, 3, 4]
    assert len(kafka_probe.messages()) == 104


def test_log_lost_during_refill_restarts_it(database: Database, kafka_probe: KafkaProbe, monkeypatch):
    monkeypatch.setattr(refill, "BATCH", 10)
    database.execute(STORE_MANY_EVENTS, count=100)
    with publisher(database) as manual_publisher:
        for _ in range(3):
            manual_publisher.refill()
        kafka_probe.delete_topic()

    with running_relay(database):
        wait_until_refilled(database)
        eventually(lambda: len(kafka_probe.messages()) == 100, "all events")


def test_events_older_than_retention_are_not_refilled(database: Database, kafka_probe: KafkaProbe):
    recent, old = SampleAggregate(), SampleAggregate()
    publish(recent, old)
    database.execute("UPDATE bus.outbox SET published_at = now() - interval '2 days'")
    too_old = timedelta(days=settings.OUTBOX_RETENTION_DAYS, hours=1)
    database.execute(
        "UPDATE bus.outbox SET published_at = now() - :ago WHERE aggregateid = :key", ago=too_old, key=old.aggregate_id
    )

    with running_relay(database):
        wait_until_refilled(database)
        eventually(kafka_probe.messages, "the recent event")

    assert kafka_probe.sequences(recent) == [1]
    assert kafka_probe.sequences(old) == []


def test_old_unpublished_event_is_published(database: Database, kafka_probe: KafkaProbe):
    key = SampleAggregate()
    publish(key)
    database.execute("UPDATE bus.outbox SET created_at = now() - interval '50 days'")

    with running_relay(database):
        wait_until_published(database)

    assert kafka_probe.sequences(key) == [1]


def test_replay_since_republishes_later_events(database: Database, kafka_probe: KafkaProbe, capsys):
    keys = [SampleAggregate(), SampleAggregate()]
    publish(*keys)
    with running_relay(database):
        wait_until_published(database)
        database.execute(
            "UPDATE bus.outbox SET created_at = now() - interval '3 days' WHERE aggregateid = :key",
            key=keys[0].aggregate_id,
        )
        since = (utc_now() - timedelta(days=1)).isoformat()
        assert cli.main(["replay", "--topic", SERVICE, "--since", since]) == 0
        assert f"{SERVICE}: 1 events will be published again\n" in capsys.readouterr().out
        eventually(lambda: kafka_probe.sequences(keys[1]) == [1, 1], "the second publication")
        wait_until_refilled(database)

    assert kafka_probe.sequences(keys[0]) == [1]


def test_replay_reports_skipped_events(database: Database, kafka_probe: KafkaProbe, capsys):
    store_past_event(course_published(), uuid4())
    too_old = timedelta(days=settings.OUTBOX_RETENTION_DAYS, hours=1)
    database.execute("UPDATE bus.outbox SET published_at = now() - :ago", ago=too_old)

    assert cli.main(["replay", "--topic", "courses"]) == 0

    assert capsys.readouterr().out == (
        "courses: 0 events will be published again\n"
        "courses: events published more than 14 days ago are skipped; see rebuild\n"
    )


def test_second_replay_extends_the_first(database: Database, kafka_probe: KafkaProbe):
    for days in (3, 1):
        store_past_event(course_published(), uuid4(), published_ago=timedelta(days=days))

    assert request_refill("courses", since=utc_now() - timedelta(days=2)) == 1
    later = refill_position(database)
    assert request_refill("courses", since=utc_now() - timedelta(days=4)) == 2

    assert refill_position(database) < later
    topic = kafka.topic_of("courses")
    since = database.value("SELECT refill_since FROM bus.kafka_topics WHERE topic = :topic", topic=topic)
    assert since < utc_now() - timedelta(days=3, hours=1)


def test_replay_status_lists_refills(database: Database, kafka_probe: KafkaProbe, capsys):
    store_past_event(course_published(), uuid4(), published_ago=timedelta(hours=1))
    request_refill("courses", since=None)

    assert cli.main(["replay", "status"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert "courses: 0 events in 0 min, 1 outbox rows left" in lines
    assert "payments: no refill is running" in lines
