"""The relay publishes the outbox to a real broker in order, marks acknowledged events, and has one leader."""

from contextlib import contextmanager
from uuid import UUID

import pytest
from confluent_kafka import KafkaException
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from bridge import kafka
from bridge.publisher import relay
from bridge.publisher.relay import Publisher
from bridge.topics import Topics
from core.redis import RELAY_HINT, queue_redis
from tests.integration.bridge.harness import UNPUBLISHED, running_relay, wait_until_published
from tests.integration.bridge.kafka_probe import KafkaProbe, SampleAggregate, publish
from tests.support.databases import Database
from tests.support.polling import assert_never, eventually

LEADERS = """
    SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(relay, "CHECK_SECONDS", 0.1)
    monkeypatch.setattr(relay, "POLL_SECONDS", 0.05)


def topics_are_visible(topics: Topics) -> bool:
    """Return whether the broker knows the topics: in a cluster, new topics become visible at different times."""
    try:
        return bool(topics.ids())
    except KafkaException:
        return False


@contextmanager
def publisher(database: Database):
    """Yield a publisher whose steps the test calls itself."""
    topics = Topics()
    topics.ensure()
    eventually(lambda: topics_are_visible(topics), "the new topics at every broker")
    with relay._engine(database.url).connect() as connection:  # noqa: SLF001 the engine of Relay
        publisher = Publisher(connection, topics)
        publisher.refills.begin_for_lost_logs(publisher.topic_ids)
        yield publisher


def test_events_of_a_key_are_published_in_order(database, kafka_probe: KafkaProbe):
    keys = [SampleAggregate(), SampleAggregate(), SampleAggregate()]
    for number in range(30):
        publish(*keys[: 1 + number % 3])
    with running_relay(database):
        wait_until_published(database)

    for key in keys:
        assert kafka_probe.sequences(key) == list(range(1, key.version + 1))


def test_newest_event_of_another_key_does_not_wait_for_backlog(database, kafka_probe: KafkaProbe, monkeypatch):
    old, new, backlog = SampleAggregate(), SampleAggregate(), SampleAggregate()
    publish(old, *[backlog] * relay.BATCH)
    database.execute("UPDATE bus.outbox SET created_at = now() - interval '1 hour'")
    publish(backlog, new, old)

    with publisher(database) as sender:
        sender.publish()

        assert kafka_probe.sequences(new) == [1]
        assert kafka_probe.sequences(old) == [1]
        assert kafka_probe.sequences(backlog) == list(range(1, relay.BATCH))
        while sender.publish():
            pass
    assert kafka_probe.sequences(old) == [1, 2]
    assert kafka_probe.sequences(backlog) == list(range(1, relay.BATCH + 2))


def test_message_is_a_cloudevent(database, kafka_probe: KafkaProbe):
    key = SampleAggregate()
    publish(key, title="Sourdough")
    with running_relay(database):
        wait_until_published(database)
    [message] = kafka_probe.messages()

    headers = {name: value for name, value in message.headers.items() if name not in {"ce_id", "ce_time"}}
    assert headers == {
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


def test_late_committed_event_is_published(database, kafka_probe: KafkaProbe):
    """The ``seq`` of the event is lower than the last published one."""
    late, early = SampleAggregate(), SampleAggregate()
    publish(late, early)
    with running_relay(database):
        wait_until_published(database)
        mark_late = "UPDATE bus.outbox SET seq = -seq, published_at = NULL WHERE aggregateid = :key"
        database.execute(mark_late, key=late.aggregate_id)
        wait_until_published(database)

    assert kafka_probe.sequences(late) == [1, 1]


def test_only_acknowledged_prefix_of_key_is_marked_published(database, kafka_probe: KafkaProbe, monkeypatch):
    broken, fine = SampleAggregate(), SampleAggregate()
    for _ in range(3):
        publish(broken, fine)

    class LossyProducer:
        """Loses the second event of one key without an error."""

        def __init__(self) -> None:
            self._producer = producer()
            self.poll, self.flush = self._producer.poll, self._producer.flush

        def produce(self, topic, *, key, headers, **rest) -> None:
            if (key, dict(headers)["ce_sequence"]) != (broken.aggregate_id, "2"):
                self._producer.produce(topic, key=key, headers=headers, **rest)

    producer = kafka.producer
    with monkeypatch.context() as patch:
        patch.setattr(kafka, "producer", LossyProducer)
        with publisher(database) as manual_publisher, pytest.raises(KafkaException):
            manual_publisher.publish()
    marked = database.rows("SELECT aggregateid, aggregate_version FROM bus.outbox WHERE published_at IS NOT NULL")
    assert set(marked) == {(broken.aggregate_id, 1), *((fine.aggregate_id, number) for number in (1, 2, 3))}
    with running_relay(database):
        wait_until_published(database)
    assert kafka_probe.sequences(broken)[-2:] == [2, 3]
    assert kafka_probe.sequences(fine) == [1, 2, 3]


def test_leader_with_lost_connection_marks_nothing(database, kafka_probe: KafkaProbe, monkeypatch):
    key = SampleAggregate()
    publish(key)
    with publisher(database) as manual_publisher:
        send = manual_publisher._send  # noqa: SLF001 the connection is lost after this call

        def send_and_lose_connection(rows):
            sent = send(rows)
            pid = manual_publisher._connection.execute(text("SELECT pg_backend_pid()")).scalar_one()  # noqa: SLF001 as above
            database.execute("SELECT pg_terminate_backend(:pid)", pid=pid)
            return sent

        monkeypatch.setattr(manual_publisher, "_send", send_and_lose_connection)
        with pytest.raises(DBAPIError):
            manual_publisher.publish()
    assert kafka_probe.sequences(key) == [1]
    assert database.value(UNPUBLISHED) == 1
    with running_relay(database):
        wait_until_published(database)

    assert kafka_probe.sequences(key) == [1, 1]  # the same event, published again


def test_second_relay_takes_over_from_leader(database, kafka_probe: KafkaProbe):
    key = SampleAggregate()
    with running_relay(database), running_relay(database):
        [(leader,)] = eventually(lambda: database.rows(LEADERS), "a leader")
        for _ in range(5):
            publish(key)
        wait_until_published(database)
        database.execute("SELECT pg_terminate_backend(:pid)", pid=leader)
        [(successor,)] = eventually(lambda: [row for row in database.rows(LEADERS) if row != (leader,)], "a successor")
        publish(key)
        wait_until_published(database)
        assert database.rows(LEADERS) == [(successor,)]

    assert kafka_probe.sequences(key) == [1, 2, 3, 4, 5, 6]


def test_lost_log_is_detected_and_republished(database, kafka_probe: KafkaProbe):
    key = SampleAggregate()
    publish(key)
    publish(key)
    with running_relay(database):
        wait_until_published(database)
        kafka_probe.delete_topic()
        eventually(
            lambda: database.value(UNPUBLISHED) > 0 or len(kafka_probe.messages()) == 2, "the detection of the lost log"
        )
        wait_until_published(database)

    assert kafka_probe.sequences(key) == [1, 2]


def test_acknowledgement_from_recreated_topic_is_ignored(database, kafka_probe: KafkaProbe):
    publish(SampleAggregate())
    with publisher(database) as manual_publisher:
        manual_publisher.publish()
        kafka_probe.delete_topic()
        Topics().ensure()  # another program recreates the topic, so the producer finds a topic with the right name
        publish(SampleAggregate())
        with pytest.raises(KafkaException):
            manual_publisher.publish()

    assert database.value(UNPUBLISHED) == 1


def test_closed_publisher_sends_nothing_to_a_new_log(database, kafka_probe: KafkaProbe):
    """A late message of its client would stand before the earlier events of its key, which the refill publishes."""
    key = SampleAggregate()
    with publisher(database) as sender:
        publish(key)
        sender.publish()
        kafka_probe.delete_topic()
        publish(key)
        with pytest.raises(KafkaException):
            sender.publish()
        sender.close()
        Topics().ensure()

        assert_never(lambda: kafka_probe.sequences(key), "an event of the closed publisher", seconds=2)


def test_log_lost_while_relay_is_stopped_is_republished(database, kafka_probe: KafkaProbe):
    key = SampleAggregate()
    publish(key)
    with running_relay(database):
        wait_until_published(database)
    kafka_probe.delete_topic()
    publish(key)
    with running_relay(database):
        wait_until_published(database)
    assert kafka_probe.sequences(key) == [1, 2]


def test_published_events_are_not_republished(database, kafka_probe: KafkaProbe):
    key = SampleAggregate()
    publish(key)
    for _ in range(2):
        with running_relay(database):
            wait_until_published(database)
            assert_never(lambda: database.value(UNPUBLISHED))

    assert kafka_probe.sequences(key) == [1]


def test_relay_polls_when_wakeup_is_lost(database, kafka_probe: KafkaProbe):
    key = SampleAggregate()
    with running_relay(database):
        eventually(lambda: database.rows(LEADERS), "a leader")
        queue_redis().delete(RELAY_HINT)
        publish(key)
        wait_until_published(database)
