"""``python -m bridge replay`` and ``lag``."""

from uuid import uuid4

import pytest

from bridge import cli, kafka
from bridge.consumer.service_consumer import ServiceConsumer
from bridge.topics import Topics
from tests.integration.bridge.event_builders import course_published, enrollment_created, store_event
from tests.support.databases import Database
from tests.support.gateway import running_worker

pytestmark = pytest.mark.usefixtures("database")


def test_replay_leaves_other_topics_alone(database: Database):
    store_event(course_published(), uuid4())

    cli.main(["replay", "--topic", "payments"])

    assert database.count("bus.kafka_topics") == 0


def test_replay_requires_a_selection(capsys):
    with pytest.raises(SystemExit):
        cli.main(["replay"])
    assert "--since, --topic or --handler" in capsys.readouterr().err


def test_redelivery_to_handler_is_idempotent(database: Database, capsys):
    courses = [uuid4() for _ in range(3)]
    for course_id in courses:
        for version in (1, 2):
            store_event(course_published(course_id, version=version), course_id, version=version)
    store_event(enrollment_created(), uuid4())  # not routed to the handler

    with running_worker("progress"):
        for _ in range(2):
            assert cli.main(["replay", "--handler", "progress.upsert_outline"]) == 0

    assert capsys.readouterr().out == "6 events redelivered to progress.upsert_outline\n" * 2
    assert database.count("progress.outlines") == 6
    assert database.count("bus.inbox") == 6


def test_lag_is_reported_in_events_and_seconds(topics: str, capsys):
    Topics().ensure()
    producer = kafka.producer()
    for number in range(3):
        producer.produce(f"{topics}courses", key=f"k{number}", value="{}", headers=[("ce_id", "x"), ("ce_type", "y")])
    assert producer.flush(10) == 0

    assert cli.main(["lag"]) == 0

    lags = dict(line.split(": ") for line in capsys.readouterr().out.splitlines())
    assert lags["progress"].startswith("3 events, ")
    for service, lag in lags.items():
        assert (lag == "0 events, 0 s") == (f"{topics}courses" not in ServiceConsumer.topics_of(service))
