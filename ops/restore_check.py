"""Find and mend what a restore of PostgreSQL to an earlier time leaves: ``python -m ops.restore_check [--apply]``.

Run it after the restore and before the platform starts (docs/backup.md), as the owner of the database. Without
``--apply`` it changes nothing. The exit code is 1 as long as something is wrong.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from redis.exceptions import RedisError
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

import settings
from bridge import kafka
from core import command_line
from core.db import network_options
from core.redis import cache_redis, queue_redis
from models.notifications import mongodb

# Positions that integrators may have read and that the restored feed does not have. Positions have 63 bits.
SKIPPED_POSITIONS = 1_000_000
_TIMEOUT_SECONDS = 5


@dataclass(frozen=True)
class Finding:
    """What is wrong, and how it is mended: by ``mend``, or by the operator if there is none."""

    text: str
    mend: Callable[[], object] | None = None


def main(arguments: list[str]) -> int:
    """Print the findings and mend those that can be mended; return 1 if something is left to do."""
    parser = argparse.ArgumentParser(prog="python -m ops.restore_check", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--apply", action="store_true", help="mend what can be mended")
    apply = parser.parse_args(arguments).apply
    remaining = 0
    with connect("integrations") as feed:
        end = newest_event()
        print(f"The newest event in the databases is of {end.isoformat() if end else 'no time: there is none'}.")
        for finding in (*feed_findings(feed), *redis_findings(), *kafka_findings(), *notification_findings(end)):
            if apply and finding.mend:
                finding.mend()
                print(f"Mended: {finding.text}")
            else:
                remaining += 1
                print(f"To do: {finding.text}")
        feed.commit()
    print("Nothing is left to do: start the platform." if not remaining else f"Left to do: {remaining}")
    return 1 if remaining else 0


def connect(service: str) -> Connection:
    """Connect as the owner, who may set positions, and without the role of a service."""
    url = settings.direct_database_url(service)
    return create_engine(url, poolclass=NullPool, connect_args=network_options(url)).connect()


def newest_event() -> datetime | None:
    """Return the time of the newest event in the outbox of any service."""
    found: list[datetime] = []
    for service in {settings.direct_database_url(service): service for service in settings.SERVICES}.values():
        with connect(service) as connection:
            found += filter(None, [connection.scalar(text("SELECT max(created_at) FROM bus.outbox"))])
    return max(found, default=None)


def feed_findings(connection: Connection) -> Iterator[Finding]:
    """Positions of lost events would be assigned again: a reader that has passed them would skip the new events."""
    sequence = connection.scalar(text("SELECT pg_get_serial_sequence('integrations.events', 'position')"))
    given = connection.scalar(text(f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}"))  # noqa: S608
    used = connection.scalar(
        text(
            "SELECT greatest((SELECT max(position) FROM integrations.events),"
            " (SELECT max(position) FROM integrations.event_log_retention), 0)"
        )
    )
    if int(given or 0) >= int(used or 0) + SKIPPED_POSITIONS:
        return
    start = int(used or 0) + SKIPPED_POSITIONS

    def advance() -> None:
        connection.execute(text("SELECT setval(CAST(:name AS regclass), :start)"), {"name": sequence, "start": start})

    yield Finding(
        f"positions of the event feed continue at {int(given or 0) + 1}: they must start after {start}", advance
    )


def redis_findings() -> Iterator[Finding]:
    """Redis is newer than the database: commands, events and cached reads of a time that is lost."""
    for name, client in (("REDIS_URL", queue_redis), ("CACHE_URL", cache_redis)):
        if not _is_known(name):
            continue
        try:
            keys = client().dbsize()
        except RedisError as error:
            yield Finding(f"{name} does not answer: {error}")
            continue
        if keys:
            yield Finding(f"the database of {name} has {keys} keys of the time before the restore", client().flushdb)


def kafka_findings() -> Iterator[Finding]:
    """Events on Kafka may be newer than the database, or have numbers that it assigns again."""
    if not _is_known("KAFKA_BOOTSTRAP_SERVERS"):
        return
    admin = kafka.admin()
    try:
        known = admin.list_topics(timeout=_TIMEOUT_SECONDS).topics
        own = [name for service in settings.SERVICES if (name := kafka.topic_of(service)) in known]
        filled = [name for name in own if _has_messages(name, known[name])]
    except KafkaException as error:
        yield Finding(f"Kafka does not answer: {error}")
        return

    def delete() -> None:
        for deleted in admin.delete_topics(filled, operation_timeout=_TIMEOUT_SECONDS).values():
            deleted.result(timeout=_TIMEOUT_SECONDS)

    if filled:
        yield Finding(f"the topics {', '.join(filled)} have events of the time before the restore", delete)


def _has_messages(name: str, topic: Any) -> bool:
    reader = kafka.tail_reader("integrations")
    try:
        return any(
            reader.get_watermark_offsets(TopicPartition(name, number), timeout=_TIMEOUT_SECONDS)[1]
            for number in topic.partitions
        )
    finally:
        reader.close()


def notification_findings(end: datetime | None) -> Iterator[Finding]:
    """Notifications after the end of the database belong to events that did not happen."""
    if end is None or not _is_known("MONGO_URL"):
        return
    newer = {"created_at": {"$gt": end}}
    with mongodb.mongo_database() as database:
        collection = database["notifications"]
        number = sum(1 for _ in collection.find(newer, {"_id": 1}))

    def delete() -> None:
        with mongodb.mongo_database() as database:
            database["notifications"].delete_many(newer)

    if number:
        yield Finding(f"{number} notifications are newer than the databases", delete)


def _is_known(name: str) -> bool:
    """Return whether this process knows the address of a server; in production only those that are set."""
    return not settings.PRODUCTION or settings.read.is_set(name)


if __name__ == "__main__":
    command_line.run(lambda: main(sys.argv[1:]))
