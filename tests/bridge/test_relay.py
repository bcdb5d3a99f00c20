"""From the outbox to a real broker: in order, marked when acknowledged, by one at a time."""

from contextlib import contextmanager
from uuid import UUID

import pytest
from confluent_kafka import KafkaException
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from bridge import kafka, relay
from bridge.relay import Publisher
from bridge.topics import Topics
from models.redis import RELAY_HINT, queue_redis
from tests.bridge.house import UNPUBLISHED, running_relay, wait_until_published
from tests.bridge.wire import Key, Wire, tell
from tests.support.databases import Database
from tests.support.waiting import eventually, never

LEADERS = """
    SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(relay, "CHECK_SECONDS", 0.1)
    monkeypatch.setattr(relay, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(relay, "CONSUMERS_NOTICE_SECONDS", 0)  # nobody consumes here


def are_known(topics: Topics) -> bool:
    """Whether the broker that is asked knows the topics: of several, some learn of a new one a moment later."""
    try:
        return bool(topics.ids())
    except KafkaException:
        return False


@contextmanager
def publisher(database: Database):
    """One that the test moves by hand."""
    topics = Topics()
    topics.ensure()
    eventually(lambda: are_known(topics), "the new topics at every broker")
    with relay._engine(database.url).connect() as connection:  # noqa: SLF001 as Relay makes it
        publisher = Publisher(connection, topics)
        publisher.refills.begin_for_lost_logs(publisher.topic_ids)
        yield publisher


def test_each_key_is_told_in_its_order(database, wire: Wire):
    keys = [Key(), Key(), Key()]
    for number in range(30):
        tell(*keys[: 1 + number % 3])
    with running_relay(database):
        wait_until_published(database)

    for key in keys:
        assert wire.sequences(key) == list(range(1, key.version + 1))


def test_a_message_is_a_cloud_event(database, wire: Wire):
    key = Key()
    tell(key, title="Sourdough")
    with running_relay(database):
        wait_until_published(database)
    [message] = wire.messages()

    told = {name: value for name, value in message.headers.items() if name not in {"ce_id", "ce_time"}}
    assert told == {
        "content-type": "application/json",
        "ce_specversion": "1.0",
        "ce_source": "/progress",
        "ce_type": "COURSE_COMPLETED",
        "ce_subject": key.aggregate_id,
        "ce_dataschema": "https://coursebus.dev/schemas/COURSE_COMPLETED/1",
        "ce_partitionkey": key.aggregate_id,
        "ce_sequence": "1",
    }
    assert UUID(message.headers["ce_id"]) == database.value("SELECT id FROM bus.outbox")
    assert b"Sourdough" in message.value


def test_an_event_that_commits_late_is_told_although_a_later_one_was_told_before(database, wire: Wire):
    """Its number in the outbox is lower than the last that was published."""
    late, early = Key(), Key()
    tell(late, early)
    with running_relay(database):
        wait_until_published(database)
        as_late = "UPDATE bus.outbox SET seq = -seq, published_at = NULL WHERE aggregateid = :key"
        database.execute(as_late, key=late.aggregate_id)
        wait_until_published(database)

    assert wire.sequences(late) == [1, 1]


def test_only_what_kafka_has_acknowledged_is_marked_and_nothing_behind_it(database, wire: Wire, monkeypatch):
    broken, fine = Key(), Key()
    for _ in range(3):
        tell(broken, fine)

    class Forgetful:
        """Loses the second event of one key, without a word."""

        def __init__(self) -> None:
            self._producer = producer()
            self.poll, self.flush = self._producer.poll, self._producer.flush

        def produce(self, topic, *, key, headers, **rest) -> None:
            if (key, dict(headers)["ce_sequence"]) != (broken.aggregate_id, "2"):
                self._producer.produce(topic, key=key, headers=headers, **rest)

    producer = kafka.producer
    with monkeypatch.context() as forgetful:
        forgetful.setattr(kafka, "producer", Forgetful)
        with publisher(database) as by_hand, pytest.raises(KafkaException):
            by_hand.publish()
    marked = database.rows("SELECT aggregateid, aggregate_version FROM bus.outbox WHERE published_at IS NOT NULL")
    assert set(marked) == {(broken.aggregate_id, 1), *((fine.aggregate_id, number) for number in (1, 2, 3))}
    with running_relay(database):
        wait_until_published(database)
    assert wire.sequences(broken)[-2:] == [2, 3]
    assert wire.sequences(fine) == [1, 2, 3]


def test_a_leader_whose_connection_is_gone_marks_nothing(database, wire: Wire, monkeypatch):
    key = Key()
    tell(key)
    with publisher(database) as by_hand:
        send = by_hand._send  # noqa: SLF001 the moment in question

        def send_and_be_thrown_out(rows):
            sent = send(rows)
            pid = by_hand._connection.execute(text("SELECT pg_backend_pid()")).scalar_one()  # noqa: SLF001 as above
            database.execute("SELECT pg_terminate_backend(:pid)", pid=pid)
            return sent

        monkeypatch.setattr(by_hand, "_send", send_and_be_thrown_out)
        with pytest.raises(DBAPIError):
            by_hand.publish()
    assert wire.sequences(key) == [1]
    assert database.value(UNPUBLISHED) == 1
    with running_relay(database):
        wait_until_published(database)

    assert wire.sequences(key) == [1, 1]  # the same event, told again


def test_of_two_relays_one_leads_and_the_other_takes_over(database, wire: Wire):
    key = Key()
    with running_relay(database), running_relay(database):
        [(leader,)] = eventually(lambda: database.rows(LEADERS), "a leader")
        for _ in range(5):
            tell(key)
        wait_until_published(database)
        database.execute("SELECT pg_terminate_backend(:pid)", pid=leader)
        [(successor,)] = eventually(lambda: [row for row in database.rows(LEADERS) if row != (leader,)], "a successor")
        tell(key)
        wait_until_published(database)
        assert database.rows(LEADERS) == [(successor,)]

    assert wire.sequences(key) == [1, 2, 3, 4, 5, 6]


def test_a_lost_log_is_found_out_and_told_again(database, wire: Wire):
    key = Key()
    tell(key)
    tell(key)
    with running_relay(database):
        wait_until_published(database)
        wire.forget()
        eventually(lambda: database.value(UNPUBLISHED) > 0 or len(wire.messages()) == 2, "the discovery")
        wait_until_published(database)

    assert wire.sequences(key) == [1, 2]


def test_an_acknowledgement_counts_only_while_the_topics_are_the_same(database, wire: Wire):
    tell(Key())
    with publisher(database) as by_hand:
        by_hand.publish()
        wire.forget()
        Topics().ensure()  # by another program, say: our producer meets a topic and takes it for its own
        tell(Key())
        with pytest.raises(KafkaException):
            by_hand.publish()

    assert database.value(UNPUBLISHED) == 1


def test_a_log_that_was_lost_while_nobody_looked_is_told_again(database, wire: Wire):
    key = Key()
    tell(key)
    with running_relay(database):
        wait_until_published(database)
    wire.forget()
    tell(key)
    with running_relay(database):
        wait_until_published(database)
    assert wire.sequences(key) == [1, 2]


def test_nothing_new_is_not_told_again(database, wire: Wire):
    key = Key()
    tell(key)
    for _ in range(2):
        with running_relay(database):
            wait_until_published(database)
            never(lambda: database.value(UNPUBLISHED))

    assert wire.sequences(key) == [1]


def test_a_lost_wake_up_costs_only_the_poll(database, wire: Wire):
    key = Key()
    with running_relay(database):
        eventually(lambda: database.rows(LEADERS), "a leader")
        queue_redis().delete(RELAY_HINT)
        tell(key)
        wait_until_published(database)
