"""Copies of dead letters: bounded, without personal data, and harmless to the relay."""

from typing import Any

import msgspec
import pytest
from confluent_kafka import TopicPartition
from psycopg2.errors import UniqueViolation
from sqlalchemy.exc import IntegrityError

from bridge import kafka, relay
from bridge.topics import Topics
from models.log import REASON_MAX_LENGTH, described
from tests.bridge.house import running_relay, wait_until_published
from tests.bridge.wire import Key, Wire, tell
from tests.support.databases import Database
from tests.support.waiting import eventually

UNCOPIED = "SELECT count(*) FROM bus.dead_letters WHERE published_at IS NULL"
SQL_ERROR = """IntegrityError('(psycopg2.errors.UniqueViolation) duplicate key\\nDETAIL:  Key (name)=(Ann Smith).\\n
[SQL: INSERT INTO users] [parameters: {'name': 'Ann Smith', 'email': 'ann@example.org'}]')"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "CHECK_SECONDS", 0.1)
    monkeypatch.setattr(relay, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(relay, "CONSUMERS_NOTICE_SECONDS", 0)


def bury(
    database: Database, wire: Wire, payload: Any, *, reason: str = "a bug", handler: str = "progress.take"
) -> None:
    database.execute(
        """INSERT INTO bus.dead_letters
               (handler, event_id, topic, key, type, payload, headers, reason, status, created_at)
           VALUES (:handler, gen_random_uuid(), :topic, 'k', 'USER_CREATED', CAST(:payload AS jsonb), '{}', :reason,
                   'open', now())""",
        handler=handler,
        topic=wire.topic,
        payload=msgspec.json.encode(payload).decode(),
        reason=reason,
    )


def copies(wire: Wire) -> list[tuple[Any, dict[str, str]]]:
    """Payload and headers of each copy."""
    consumer = kafka.onlooker("progress")
    found: list[tuple[Any, dict[str, str]]] = []
    try:
        consumer.assign([TopicPartition(f"{wire.topic}.progress.take.dlq", 0, 0)])
        while True:
            message = eventually(lambda: consumer.poll(0.5), "a copy or the end", seconds=30)
            if message.error():
                return found
            headers = {name: value.decode() for name, value in message.headers()}
            found.append((msgspec.json.decode(message.value()), headers))
    finally:
        consumer.close()


def test_a_large_letter_is_copied_without_its_payload(database: Database, wire: Wire):
    bury(database, wire, {"text": "x" * 1_100_000})
    bury(database, wire, {"text": "small"})

    with running_relay(database):
        eventually(lambda: database.value(UNCOPIED) == 0, "the copies")
        key = Key()
        tell(key)
        wait_until_published(database)

    (large, headers), (small, _) = copies(wire)
    assert large is None
    assert headers["dlq_payload_omitted"].startswith("1100011 bytes")
    assert small == {"text": "small"}
    assert wire.sequences(key) == [1]


def test_a_copy_carries_no_personal_data(database: Database, wire: Wire):
    person = {"user_id": "u", "sub": "auth0|1", "pii": {"email": "ann@example.org", "name": "Ann Smith"}}
    bury(database, wire, person, reason=SQL_ERROR + " " + "y" * 5000)

    with running_relay(database):
        eventually(lambda: database.value(UNCOPIED) == 0, "the copy")

    [(payload, headers)] = copies(wire)
    assert payload == {"user_id": "u"}
    assert "Ann" not in str(headers)
    assert "ann@" not in str(headers)
    assert headers["dlq_error"].startswith("IntegrityError('(psycopg2.errors.UniqueViolation) duplicate key")
    assert len(headers["dlq_error"]) <= REASON_MAX_LENGTH


def test_a_topic_that_cannot_be_made_does_not_stop_the_relay(database: Database, wire: Wire, monkeypatch):
    def refuse(*_: object) -> None:
        raise kafka_refuses

    kafka_refuses = TimeoutError("no topic")
    monkeypatch.setattr(Topics, "ensure_for_letters", refuse)
    bury(database, wire, {})

    with running_relay(database):
        for _ in range(3):
            key = Key()
            tell(key)
            wait_until_published(database)

    assert database.value(UNCOPIED) == 1


def test_of_a_database_error_only_names_are_kept():
    class Diagnostics:
        table_name, column_name, constraint_name = "users", None, "ux_users_email"

    class Violation(UniqueViolation):
        pgcode, diag = "23505", Diagnostics()

    error = IntegrityError("INSERT", {"email": "ann@example.org"}, Violation("Key (name)=(Ann Smith) exists"))

    assert described(error) == "IntegrityError(Violation: 23505, users, ux_users_email)"
    assert described(ValueError("to ann@example.org")) == "ValueError('to ***')"
