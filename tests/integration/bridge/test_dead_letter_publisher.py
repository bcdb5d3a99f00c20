"""Published copies of dead letters are bounded, contain no personal data and do not block the relay."""

from typing import Any

import msgspec
import pytest
from confluent_kafka import TopicPartition
from psycopg2.errors import UniqueViolation
from sqlalchemy.exc import IntegrityError

from bridge import kafka
from bridge.publisher import relay
from bridge.topics import Topics
from core.log import REASON_MAX_LENGTH, describe_error
from tests.integration.bridge.harness import running_relay, wait_until_published
from tests.integration.bridge.kafka_probe import KafkaProbe, SampleAggregate, publish
from tests.support.databases import Database
from tests.support.polling import eventually

UNPUBLISHED_DEAD_LETTERS = "SELECT count(*) FROM bus.dead_letters WHERE published_at IS NULL"
SQL_ERROR = """IntegrityError('(psycopg2.errors.UniqueViolation) duplicate key\\nDETAIL:  Key (name)=(Ann Smith).\\n
[SQL: INSERT INTO users] [parameters: {'name': 'Ann Smith', 'email': 'ann@example.org'}]')"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "CHECK_SECONDS", 0.1)
    monkeypatch.setattr(relay, "POLL_SECONDS", 0.05)


def store_dead_letter(
    database: Database,
    kafka_probe: KafkaProbe,
    payload: Any,
    *,
    reason: str = "a bug",
    handler: str = "progress.recording_handler",
) -> None:
    database.execute(
        """INSERT INTO bus.dead_letters
               (handler, event_id, topic, key, type, payload, headers, reason, status, created_at)
           VALUES (:handler, gen_random_uuid(), :topic, 'k', 'USER_CREATED', CAST(:payload AS jsonb), '{}', :reason,
                   'open', now())""",
        handler=handler,
        topic=kafka_probe.topic,
        payload=msgspec.json.encode(payload).decode(),
        reason=reason,
    )


def published_dead_letters(kafka_probe: KafkaProbe) -> list[tuple[Any, dict[str, str]]]:
    """Return payload and headers of each copy."""
    consumer = kafka.offset_reader("progress")
    found: list[tuple[Any, dict[str, str]]] = []
    try:
        consumer.assign([TopicPartition(f"{kafka_probe.topic}.progress.recording_handler.dlq", 0, 0)])
        while True:
            message = eventually(lambda: consumer.poll(0.5), "a copy or the end of the partition")
            if message.error():
                return found
            headers = {name: value.decode() for name, value in message.headers()}
            found.append((msgspec.json.decode(message.value()), headers))
    finally:
        consumer.close()


def test_large_dead_letter_is_published_without_payload(database: Database, kafka_probe: KafkaProbe):
    store_dead_letter(database, kafka_probe, {"text": "x" * 1_100_000})
    store_dead_letter(database, kafka_probe, {"text": "small"})

    with running_relay(database):
        eventually(lambda: database.value(UNPUBLISHED_DEAD_LETTERS) == 0, "the copies")
        key = SampleAggregate()
        publish(key)
        wait_until_published(database)

    (large, headers), (small, _) = published_dead_letters(kafka_probe)
    assert large is None
    assert headers["dlq_payload_omitted"].startswith("1100011 bytes")
    assert small == {"text": "small"}
    assert kafka_probe.sequences(key) == [1]


def test_published_dead_letter_has_no_personal_data(database: Database, kafka_probe: KafkaProbe):
    person = {"user_id": "u", "sub": "auth0|1", "pii": {"email": "ann@example.org", "name": "Ann Smith"}}
    store_dead_letter(database, kafka_probe, person, reason=SQL_ERROR + " " + "y" * 5000)

    with running_relay(database):
        eventually(lambda: database.value(UNPUBLISHED_DEAD_LETTERS) == 0, "the copy")

    [(payload, headers)] = published_dead_letters(kafka_probe)
    assert payload == {"user_id": "u"}
    assert "Ann" not in str(headers)
    assert "ann@" not in str(headers)
    assert headers["dlq_error"].startswith("IntegrityError('(psycopg2.errors.UniqueViolation) duplicate key")
    assert len(headers["dlq_error"]) <= REASON_MAX_LENGTH


def test_relay_continues_when_topic_cannot_be_created(database: Database, kafka_probe: KafkaProbe, monkeypatch):
    def refuse(*_: object) -> None:
        raise error

    error = TimeoutError("no topic")
    monkeypatch.setattr(Topics, "ensure_dead_letter_topics", refuse)
    store_dead_letter(database, kafka_probe, {})

    with running_relay(database):
        for _ in range(3):
            key = SampleAggregate()
            publish(key)
            wait_until_published(database)

    assert database.value(UNPUBLISHED_DEAD_LETTERS) == 1


def test_database_error_is_described_without_values():
    class Diagnostics:
        table_name, column_name, constraint_name = "users", None, "ux_users_email"

    class Violation(UniqueViolation):
        pgcode, diag = "23505", Diagnostics()

    error = IntegrityError("INSERT", {"email": "ann@example.org"}, Violation("Key (name)=(Ann Smith) exists"))

    assert describe_error(error) == "IntegrityError(Violation: 23505, users, ux_users_email)"
    assert describe_error(ValueError("to ann@example.org")) == "ValueError('to ***')"
