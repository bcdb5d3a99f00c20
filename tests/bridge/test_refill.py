"""A log that was lost is filled again from the outbox: in batches, behind new events, and only with what is young."""

from datetime import timedelta
from uuid import uuid4

import pytest

import settings
from bridge import cli, kafka, refill, relay
from bridge.refill import ask_for_refill
from models.base import now
from tests.bridge.house import running_relay, wait_until_published
from tests.bridge.past import course_published
from tests.bridge.past import tell as tell_past
from tests.bridge.test_relay import publisher
from tests.bridge.wire import SERVICE, Key, Wire, tell
from tests.support.databases import Database
from tests.support.waiting import eventually

RUNNING = "SELECT count(*) FROM bus.kafka_topics WHERE refill_until IS NOT NULL"
# LESSON_COMPLETED of many keys, published an hour ago.
MANY = """
    INSERT INTO bus.outbox (id, aggregatetype, aggregateid, aggregate_version, type, payload, headers, created_at,
                            published_at)
    SELECT gen_random_uuid(), 'progress', 'many-' || n, 1, 'LESSON_COMPLETED', '{"lessons_completed": 3}', '{}',
           now() - interval '1 h', now() - interval '1 h'
    FROM generate_series(1, :count) AS n"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "CHECK_SECONDS", 0.1)
    monkeypatch.setattr(relay, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(relay, "CONSUMERS_NOTICE_SECONDS", 0)


def wait_until_refilled(database: Database) -> None:
    eventually(lambda: database.value(RUNNING) == 0, "the end of the refill", seconds=60)


def place(database: Database) -> int:
    return int(database.value("SELECT coalesce(max(refill_after), 0) FROM bus.kafka_topics"))


def test_a_new_event_is_published_promptly_while_50000_are_refilled(database: Database, wire: Wire):
    database.execute(MANY, count=50_000)
    key = Key()

    with running_relay(database):
        eventually(lambda: database.value(RUNNING) == 1, "the refill")
        tell(key)
        published = "SELECT extract(epoch FROM published_at - created_at) FROM bus.outbox WHERE aggregateid = :key"
        eventually(lambda: database.value(published, key=key.aggregate_id) is not None, "the new event")
        assert database.value(RUNNING) == 1, "the refill was over before the new event came"
        wait_until_refilled(database)

    assert database.value(published, key=key.aggregate_id) < 10  # the refill itself takes longer
    assert database.value("SELECT refill_sent FROM bus.kafka_topics WHERE topic = :topic", topic=wire.topic) == 50_000
    keys = [message.key for message in wire.messages()]
    assert len(keys) == len(set(keys)) == 50_001


def test_a_new_leader_resumes_a_refill(database: Database, wire: Wire, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(refill, "BATCH", 100)
    database.execute(MANY, count=1000)

    with publisher(database) as first:
        for _ in range(4):
            first.refill()
        left_at = place(database)
    with publisher(database) as second:
        assert place(database) == left_at
        while second.refill():
            pass

    assert database.value(RUNNING) == 0
    assert len(wire.messages()) == 1000


def test_a_refill_changes_no_row_of_the_outbox(database: Database, wire: Wire):
    database.execute(MANY, count=100)
    before = database.rows("SELECT xmin::text, seq FROM bus.outbox ORDER BY seq")

    with running_relay(database):
        eventually(lambda: len(wire.messages()) == 100, "the refill")
        wait_until_refilled(database)

    assert database.rows("SELECT xmin::text, seq FROM bus.outbox ORDER BY seq") == before


def test_a_new_event_does_not_overtake_lost_ones_of_its_key(database: Database, wire: Wire, monkeypatch):
    monkeypatch.setattr(refill, "BATCH", 10)
    key = Key()
    database.execute(MANY, count=100)
    for _ in range(3):
        tell(key)
    database.execute("UPDATE bus.outbox SET published_at = now() WHERE published_at IS NULL")
    with publisher(database) as by_hand:
        by_hand.refill()
        tell(key)
        by_hand.publish()
        while by_hand.refill():
            pass

    assert wire.sequences(key) == [1, 2, 3, 4]
    assert len(wire.messages()) == 104


def test_a_log_lost_during_a_refill_is_refilled_from_the_beginning(database: Database, wire: Wire, monkeypatch):
    monkeypatch.setattr(refill, "BATCH", 10)
    database.execute(MANY, count=100)
    with publisher(database) as by_hand:
        for _ in range(3):
            by_hand.refill()
        wire.forget()

    with running_relay(database):
        wait_until_refilled(database)
        eventually(lambda: len(wire.messages()) == 100, "all events")


def test_events_older_than_the_inbox_may_know_stay_where_they_are(database: Database, wire: Wire):
    young, old = Key(), Key()
    tell(young, old)
    database.execute("UPDATE bus.outbox SET published_at = now() - interval '2 days'")
    too_old = timedelta(days=settings.OUTBOX_KEPT_DAYS, hours=1)
    database.execute(
        "UPDATE bus.outbox SET published_at = now() - :ago WHERE aggregateid = :key", ago=too_old, key=old.aggregate_id
    )

    with running_relay(database):
        wait_until_refilled(database)
        eventually(wire.messages, "the young one")

    assert wire.sequences(young) == [1]
    assert wire.sequences(old) == []


def test_an_event_that_waited_long_for_its_first_publication_is_published(database: Database, wire: Wire):
    key = Key()
    tell(key)
    database.execute("UPDATE bus.outbox SET created_at = now() - interval '50 days'")

    with running_relay(database):
        wait_until_published(database)

    assert wire.sequences(key) == [1]


def test_a_replay_publishes_the_events_since_a_time_again(database: Database, wire: Wire, capsys):
    keys = [Key(), Key()]
    tell(*keys)
    with running_relay(database):
        wait_until_published(database)
        database.execute(
            "UPDATE bus.outbox SET created_at = now() - interval '3 days' WHERE aggregateid = :key",
            key=keys[0].aggregate_id,
        )
        since = (now() - timedelta(days=1)).isoformat()
        assert cli.main(["replay", "--topic", SERVICE, "--since", since]) == 0
        assert f"{SERVICE}: 1 events go to Kafka again\n" in capsys.readouterr().out
        eventually(lambda: wire.sequences(keys[1]) == [1, 1], "the second time")
        wait_until_refilled(database)

    assert wire.sequences(keys[0]) == [1]


def test_a_replay_says_what_it_leaves_out(database: Database, wire: Wire, capsys):
    tell_past(course_published(), uuid4())
    too_old = timedelta(days=settings.OUTBOX_KEPT_DAYS, hours=1)
    database.execute("UPDATE bus.outbox SET published_at = now() - :ago", ago=too_old)

    assert cli.main(["replay", "--topic", "courses"]) == 0

    assert capsys.readouterr().out == (
        "courses: 0 events go to Kafka again\n"
        "courses: events published more than 14 days ago are left out; see rebuild\n"
    )


def test_a_second_replay_widens_the_first(database: Database, wire: Wire):
    for days in (3, 1):
        tell_past(course_published(), uuid4(), published_ago=timedelta(days=days))

    assert ask_for_refill("courses", since=now() - timedelta(days=2)) == 1
    later = place(database)
    assert ask_for_refill("courses", since=now() - timedelta(days=4)) == 2

    assert place(database) < later
    topic = kafka.topic_of("courses")
    since = database.value("SELECT refill_since FROM bus.kafka_topics WHERE topic = :topic", topic=topic)
    assert since < now() - timedelta(days=3, hours=1)


def test_the_status_of_refills_is_shown(database: Database, wire: Wire, capsys):
    tell_past(course_published(), uuid4(), published_ago=timedelta(hours=1))
    ask_for_refill("courses", since=None)

    assert cli.main(["replay", "status"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert "courses: 0 events in 0 min, 1 outbox rows left" in lines
    assert "payments: no refill is running" in lines
