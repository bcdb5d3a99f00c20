"""``python -m bridge dead-letters``: list, show, replay in order, discard."""

import os
import subprocess
import sys
from collections.abc import Iterator
from uuid import uuid4

import pytest
from confluent_kafka import TopicPartition

import settings
from bridge import cli, kafka
from bridge.consumer.dead_letter_store import DeadLetters
from bridge.publisher.dead_letter_publisher import DeadLetterPublisher
from bridge.record import Record
from bridge.topics import Topics
from core.db import engine
from tests.integration.bridge.event_builders import course_published, enrollment_created, store_event
from tests.support.databases import Database
from tests.support.gateway import running_worker
from tests.support.polling import eventually, run_concurrently

OUTLINE_HANDLER = "progress.upsert_outline"
ENROLLMENT_HANDLER = "progress.start_course"


@pytest.fixture(autouse=True)
def database(database: Database) -> Iterator[Database]:
    database.execute("ALTER TABLE bus.dead_letters ALTER COLUMN seq RESTART")  # names of dead letters contain it
    with running_worker("progress"):
        yield database


@pytest.fixture
def dead_letters() -> DeadLetters:
    """Return the store of the running bridge."""
    return DeadLetters()


@pytest.fixture
def versions(dead_letters: DeadLetters) -> list[Record]:
    """Store two versions of one course: the first is a dead letter, the second is parked behind it."""
    course_id = uuid4()
    records = [store_event(course_published(course_id, version=n), course_id, version=n) for n in (1, 2)]
    dead_letters.store(OUTLINE_HANDLER, records[0], "it crashed")
    dead_letters.store(OUTLINE_HANDLER, records[1], "parked")
    return records


def statuses(database: Database) -> list[str]:
    return [status for (status,) in database.rows("SELECT status FROM bus.dead_letters ORDER BY seq")]


def test_open_dead_letters_are_listed_with_reasons(versions: list[Record], capsys):
    assert cli.main(["dead-letters", "list"]) == 0

    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("progress-1  progress.upsert_outline  COURSE_PUBLISHED  ")
    assert first.endswith("it crashed")
    assert second.endswith("parked")


@pytest.mark.parametrize("status", ["open", "discarded"])
def test_empty_list_is_reported(status: str, capsys):
    assert cli.main(["dead-letters", "list", "--status", status]) == 0
    assert capsys.readouterr().out == f"No {status} dead letters.\n"


def test_failed_replay_exits_with_status_1(database: Database, dead_letters: DeadLetters):
    early = enrollment_created()
    dead_letters.store(ENROLLMENT_HANDLER, store_event(early, early.enrollment_id), "it crashed")

    completed = subprocess.run(
        [sys.executable, "-m", "bridge", "dead-letters", "replay", "progress-1"],
        cwd=settings.ROOT,
        env=os.environ | {"DATABASE_URL": database.url},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )

    assert completed.returncode == 1
    assert completed.stdout == f"progress-1: The outline of course {early.course_id} has not arrived yet.\n"


def test_dead_letter_is_shown(versions: list[Record], capsys):
    assert cli.main(["dead-letters", "show", "progress-1"]) == 0

    assert versions[0].event_id in capsys.readouterr().out


@pytest.mark.parametrize("name", ["progress-99", "payments-1", "unknown-1", "1", "progress-x"])
@pytest.mark.parametrize("command", [["show"], ["replay"], ["discard", "--reason", "old"]])
def test_unknown_dead_letter_is_reported(command: list[str], name: str, capsys):
    assert cli.main(["dead-letters", *command, name]) == 1
    assert capsys.readouterr().out == f"There is no dead letter {name}.\n"


def test_replay_runs_whole_key_in_order(versions: list[Record], database: Database, capsys):
    assert cli.main(["dead-letters", "replay", "progress-2"]) == 0

    assert capsys.readouterr().out == "progress-1: done\nprogress-2: done\n"
    assert statuses(database) == ["replayed", "replayed"]
    assert database.rows("SELECT course_version FROM progress.outlines ORDER BY 1") == [(1,), (2,)]


def test_repeated_and_concurrent_replay_is_idempotent(versions: list[Record], database: Database):
    replay = ["dead-letters", "replay", "progress-1"]

    assert run_concurrently(*[lambda: cli.main(replay)] * 3) == [0, 0, 0]
    assert cli.main(replay) == 0

    assert database.count("progress.outlines") == 2
    assert database.count("bus.inbox") == 2


def test_failed_replay_keeps_later_events_parked(database: Database, dead_letters: DeadLetters, capsys):
    early = enrollment_created()
    key = early.enrollment_id
    for number, reason in ((1, "it crashed"), (2, "parked")):
        dead_letters.store(ENROLLMENT_HANDLER, store_event(early, key, version=number), reason)

    assert cli.main(["dead-letters", "replay", "--all"]) == 1

    assert capsys.readouterr().out == f"progress-1: The outline of course {early.course_id} has not arrived yet.\n"
    assert statuses(database) == ["open", "open"]

    dead_letters.store(OUTLINE_HANDLER, store_event(course_published(early.course_id), early.course_id), "it crashed")
    assert cli.main(["dead-letters", "replay", "progress-3"]) == 0
    assert cli.main(["dead-letters", "replay", "--all"]) == 0
    assert database.count("progress.course_progress") == 1


def test_discard_releases_parked_events(versions: list[Record], database: Database):
    assert cli.main(["dead-letters", "discard", "progress-1", "--reason", "a typo"]) == 0

    assert statuses(database) == ["discarded", "replayed"]
    assert database.value("SELECT reason FROM bus.dead_letters WHERE seq = 1") == "it crashed; discarded: a typo"
    assert database.rows("SELECT course_version FROM progress.outlines") == [(2,)]


def test_replay_unblocks_parked_key(versions: list[Record], dead_letters: DeadLetters, database: Database):
    course_id = versions[0].key
    third, fourth = (store_event(course_published(version=n), course_id, version=n) for n in (3, 4))
    assert dead_letters.store(OUTLINE_HANDLER, third, "parked")

    cli.main(["dead-letters", "replay", "--all"])

    assert dead_letters.is_blocked(OUTLINE_HANDLER, course_id)  # in its cache, which is refreshed by the next store()
    assert not dead_letters.store(OUTLINE_HANDLER, fourth, "parked")
    assert not dead_letters.is_blocked(OUTLINE_HANDLER, course_id)
    assert statuses(database) == ["replayed"] * 3


def test_dead_letter_is_published_with_origin_and_error(versions: list[Record], database: Database, topics: str):
    producer = kafka.producer()
    records = [Record(kafka.topic_of("courses"), 2, 41, "k", versions[0].headers, versions[0].value)]
    database.execute("DELETE FROM bus.dead_letters")
    DeadLetters().store(OUTLINE_HANDLER, records[0], "it crashed")
    with engine("progress").connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        publisher = DeadLetterPublisher(connection, Topics(), producer)
        publisher.publish()
        publisher.publish()

    assert database.value("SELECT count(published_at) FROM bus.dead_letters") == 1
    consumer = kafka.offset_reader("progress")
    try:
        consumer.assign([TopicPartition(f"{topics}courses.{OUTLINE_HANDLER}.dlq", 0, 0)])
        message = eventually(lambda: (found := consumer.poll(0.5)) and not found.error() and found, "the copy")
    finally:
        consumer.close()
    headers = {name: value.decode() for name, value in message.headers()}
    assert message.key() == b"k"
    assert (headers["ce_id"], headers["ce_type"]) == (versions[0].event_id, "COURSE_PUBLISHED")
    origin = {name: value for name, value in headers.items() if name.startswith("dlq_") and name != "dlq_created_at"}
    assert origin == {
        "dlq_origin_topic": f"{topics}courses",
        "dlq_origin_partition": "2",
        "dlq_origin_offset": "41",
        "dlq_handler": OUTLINE_HANDLER,
        "dlq_error": "it crashed",
    }
