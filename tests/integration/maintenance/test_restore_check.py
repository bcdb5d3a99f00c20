"""After a restore to an earlier time, ``ops.restore_check`` finds what is newer than the database, and mends it."""

from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import pytest

from bridge import kafka
from bridge.topics import Topics
from core.db import new_id, utc_now
from core.redis import cache_redis, queue_redis
from models.notifications import mongodb
from ops import restore_check
from tests.support.databases import Database

INSERT_ENTRY = """
    INSERT INTO integrations.events (id, type, source, subject, sequence, occurred_at, schema, data, logged_at)
    VALUES (:id, 'USER_CREATED', '/users', 'u', 1, now(), 's', '{}', now())
"""
INSERT_OUTBOX = """
    INSERT INTO bus.outbox
        (id, aggregatetype, aggregateid, aggregate_version, type, payload, headers, created_at, published_at)
    VALUES (:id, 'users', 'u', 1, 'USER_CREATED', '{}', '{}', now(), now())
"""


@pytest.fixture
def restored(database: Database, topics: str) -> Iterator[Database]:
    """Return a database of an earlier time than Redis, Kafka and MongoDB."""
    for client in (queue_redis(), cache_redis()):
        client.flushdb()
        client.set("of a time that is lost", "1")
    Topics().ensure()
    producer = kafka.producer()
    producer.produce(f"{topics}users", key="u", value="{}")
    assert producer.flush(20) == 0
    notification = {"_id": uuid4().hex, "created_at": utc_now() + timedelta(minutes=5)}
    with mongodb.mongo_database() as documents:
        documents["notifications"].insert_one(notification)
    yield database
    with mongodb.mongo_database() as documents:
        documents["notifications"].delete_one({"_id": notification["_id"]})


def append(database: Database) -> int:
    """Append an event to the feed; return its position."""
    database.execute(INSERT_ENTRY, id=new_id())
    return int(database.value("SELECT max(position) FROM integrations.events"))


def test_everything_newer_than_the_database_is_found_and_mended(
    restored: Database, topics: str, capsys: pytest.CaptureFixture[str]
):
    last = append(restored)
    restored.execute(INSERT_OUTBOX, id=new_id())

    assert restore_check.main([]) == 1
    found = capsys.readouterr().out
    assert restore_check.main(["--apply"]) == 0
    mended = capsys.readouterr().out
    assert restore_check.main([]) == 0

    for part in (
        "positions of the event feed",
        "REDIS_URL",
        "CACHE_URL",
        f"{topics}users",
        "1 notifications are newer",
    ):
        assert part in found
    assert found.count("To do: ") == mended.count("Mended: ") == 5
    assert append(restored) > last + restore_check.SKIPPED_POSITIONS
    assert queue_redis().dbsize() == cache_redis().dbsize() == 0


def test_check_alone_changes_nothing(restored: Database):
    last = append(restored)
    restored.execute(INSERT_OUTBOX, id=new_id())

    assert restore_check.main([]) == 1

    assert append(restored) == last + 1
    assert queue_redis().dbsize() == 1
