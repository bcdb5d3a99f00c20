"""Snapshots of a running platform, and whether it is idle."""

import json
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing
from typing import Any
from uuid import UUID, uuid4

import pymongo
import requests
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from pymongo.errors import PyMongoError
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

import settings
from bridge.consumer.service_consumer import ServiceConsumer
from models.events.routes import ROUTES
from settings import SERVICES
from tests.support.platform import Platform

from .checker import Row, SystemSnapshot

_TABLES = (
    *(
        "users.users",
        "courses.courses",
        "courses.enrollments",
        "courses.grants",
        "payments.orders",
        "payments.payment_attempts",
        "payments.refunds",
        "payments.ledger_entries",
        "payments.offers",
    ),
    *("progress.course_progress", "progress.completed_lessons", "progress.outlines"),
    *("notifications.contacts", "notifications.notification_sequences", "notifications.reminders"),
)
_UNAVAILABLE_ERRORS = (
    SQLAlchemyError,
    PyMongoError,
    RedisError,
    KafkaException,
    TimeoutError,
    requests.RequestException,
)
# Pending work of all users or of ``:users``; the first count above 0 is reported. While other scenarios run, a payment
# attempt or webhook of theirs is nearly always open.
_OF_USERS = """
    (:users = '{}' OR order_id IN (SELECT id FROM payments.orders WHERE user_id = ANY(CAST(:users AS uuid[]))))
"""
_PENDING = {
    "events to be published": "SELECT count(*) FROM bus.outbox WHERE published_at IS NULL",
    "topics to be refilled": "SELECT count(*) FROM bus.kafka_topics WHERE refill_until IS NOT NULL",
    "webhooks to be applied": f"""
        SELECT count(*) FROM payments.provider_events WHERE status = 'received' AND (:users = '{{}}' OR EXISTS (
            SELECT FROM payments.payment_attempts WHERE object_id IN (checkout_session_id, payment_id) AND {_OF_USERS}))
    """,  # noqa: S608 constants only
    "payments of unknown outcome": (
        f"SELECT count(*) FROM payments.payment_attempts WHERE status IN ('created', 'unknown') AND {_OF_USERS}"  # noqa: S608
    ),
    "refunds": f"""
        SELECT count(*) FROM payments.refunds WHERE status IN ('created', 'unknown', 'pending') AND {_OF_USERS}
    """,  # noqa: S608
    "operations": "SELECT count(*) FROM bus.operations WHERE finished_at IS NULL AND :users = '{}'",
}


def take_snapshot(platform: Platform, *, seconds: float = 60) -> SystemSnapshot:
    """Return the current data, retrying while servers restart. It is consistent only if ``pending_work`` is empty."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return _take_snapshot(platform)
        except _UNAVAILABLE_ERRORS:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _take_snapshot(platform: Platform) -> SystemSnapshot:
    state = requests.get(f"{platform.stripe}/__state", timeout=10).json()
    return SystemSnapshot(
        outbox=_rows(platform, "bus.outbox"),
        topics=list(_on_topics(platform)),
        inbox={(row["handler"], row["event_id"]) for row in _rows(platform, "bus.inbox")},
        dead_letters={(row["handler"], row["event_id"]) for row in _rows(platform, "bus.dead_letters")},
        tables={name: _rows(platform, name) for name in _TABLES},
        charges=state["payments"],
        mails=platform.mails(None),
        deliveries=_notifications(platform),
        redis_lists=_lists(platform.queues),
        handlers=ROUTES,
    )


def pending_work(platform: Platform, users: Collection[str] = ()) -> str:
    """Describe the pending work; empty if the platform is idle. ``users`` limits it to their events and mails."""
    array = "{" + ",".join(users) + "}"
    for what, sql in _PENDING.items():
        if number := platform.database.value(sql, **({"users": array} if ":users" in sql else {})):
            return f"{number} {what}"
    if missing := _unhandled(platform, users):
        return f"{len(missing)} events to be handled, by {dict(Counter(name.split()[0] for name in missing))}"
    waiting = [row for row in _notifications(platform) if row.get("state") in {"queued", "sending"}]
    if mails := [row for row in waiting if not users or row["user_id"] in users]:
        return f"{len(mails)} mails to be sent"
    if users:
        return ""  # other work cannot be assigned to users
    return ", ".join(f"{length} in {name}" for name, length in _lists(platform.queues).items() if length)


def wait_until_idle(platform: Platform, users: Collection[str] = (), *, seconds: float) -> float:
    """Wait until there is no pending work; return the seconds that it took."""
    began, pending, quiet = time.monotonic(), "everything", 0
    while time.monotonic() - began < seconds:
        checked_at = time.monotonic()
        try:
            pending = pending_work(platform, users)
        except _UNAVAILABLE_ERRORS as error:
            pending = repr(error)  # a server that is still restarting
        quiet = 0 if pending else quiet + 1
        if quiet == 2:
            return time.monotonic() - began
        time.sleep(min(max(0.1, 4 * (time.monotonic() - checked_at)), 1))  # leave the CPU to the platform
    log_end = "\n".join(platform.stack.log("bridge").splitlines()[-30:])
    raise AssertionError(f"not idle within {seconds:g} s: {pending}. The end of the bridge's log:\n{log_end}")


def _rows(platform: Platform, table: str) -> list[Row]:
    found = platform.database.rows(f"SELECT to_jsonb(t) FROM {table} t ORDER BY 1")  # noqa: S608 constant names
    return [row for (row,) in found]


def _unhandled(platform: Platform, users: Collection[str]) -> list[str]:
    wanted = [{"type": type_, "name": handler} for type_, handlers in ROUTES.items() for handler in handlers]
    found = platform.database.rows(
        """SELECT handler.name, outbox.type, outbox.id, outbox.payload ->> 'user_id' FROM bus.outbox
        JOIN jsonb_to_recordset(CAST(:wanted AS jsonb)) AS handler (type text, name text) USING (type)
        WHERE NOT EXISTS (SELECT FROM bus.inbox WHERE event_id = outbox.id AND handler = handler.name)
        AND NOT EXISTS (SELECT FROM bus.dead_letters WHERE event_id = outbox.id AND handler = handler.name)
        -- The inbox is pruned; events of that age are not published again.
        AND coalesce(published_at, now()) > now() - make_interval(days => :days)""",
        days=settings.OUTBOX_RETENTION_DAYS,
        wanted=json.dumps(wanted),
    )
    return [f"{handler} {type_} {event}" for handler, type_, event, user in found if not users or user in users]


def _on_topics(platform: Platform) -> list[Row]:
    """Return every record of the broker in partition order."""
    reader = {"enable.partition.eof": True, "enable.auto.commit": False, "group.id": f"checker.{uuid4()}"}
    with closing(Consumer({"bootstrap.servers": brokers_of(platform), **reader})) as consumer:
        known = consumer.list_topics(timeout=10).topics
        partitions = [(name, number) for name in SERVICES if name in known for number in known[name].partitions]
        consumer.assign([TopicPartition(*partition, OFFSET_BEGINNING) for partition in partitions])
        return list(_to_the_end(consumer, set(partitions)))


def _to_the_end(consumer: Consumer, unfinished: set[tuple[str, int]]) -> Iterator[Row]:
    deadline = time.monotonic() + 60
    while unfinished:
        if time.monotonic() > deadline:
            raise TimeoutError(f"not read to the end: {unfinished}")
        for message in consumer.consume(num_messages=500, timeout=0.05):
            error = message.error()
            if error is None:
                yield _record(message)
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 there is no public name
                unfinished.discard((message.topic(), message.partition()))
            elif not error.retriable():
                raise KafkaException(error)


def lag(platform: Platform, service: str) -> int:
    """Return the number of records that the group of ``service`` has not committed yet."""
    topics = set(ServiceConsumer.topics_of(service))
    records = [row for row in _on_topics(platform) if row["topic"] in topics]
    partitions = [TopicPartition(*partition) for partition in {(row["topic"], row["partition"]) for row in records}]
    group = {"bootstrap.servers": brokers_of(platform), "group.id": f"coursebus.{service}", "enable.auto.commit": False}
    with closing(Consumer(group)) as consumer:
        committed = {(each.topic, each.partition): each.offset for each in consumer.committed(partitions, timeout=10)}
    return sum(row["offset"] >= committed[row["topic"], row["partition"]] for row in records)


def brokers_of(platform: Platform) -> str:
    return platform.stack.environ.get("KAFKA_BOOTSTRAP_SERVERS") or f"127.0.0.1:{platform.stack.port('kafka')}"


def _record(message: Any) -> Row:
    headers = {name: value.decode() for name, value in message.headers()}
    return {
        "topic": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
        "key": message.key().decode(),
        "id": headers["ce_id"],
        "type": headers["ce_type"],
        "sequence": int(headers["ce_sequence"]),
        "payload": json.loads(message.value()),
    }


def _notifications(platform: Platform) -> list[Row]:
    url = platform.stack.environ.get("MONGO_URL") or f"mongodb://127.0.0.1:{platform.stack.port('mongo')}/coursebus"
    with pymongo.MongoClient(url, uuidRepresentation="standard", serverSelectionTimeoutMS=5000) as client:
        fields = ("user_id", "event_id", "channel", "category", "state", "reason")
        found = client.get_default_database("coursebus")["notifications"].find({}, dict.fromkeys(fields, 1))
        return [
            {name: str(value) if isinstance(value, UUID) else value for name, value in row.items()} for row in found
        ]


def _as_text(value: object) -> object:
    """Return an id as text, as it is in events and mail headers; other values as they are."""
    return str(value) if isinstance(value, UUID) else value


def _lists(queues: Redis) -> dict[str, int]:
    """Return the lengths of Redis lists with pending work: queues, unacked messages, and replies to the bridge."""
    waiting = {service: int(queues.llen(service)) for service in SERVICES}
    for key in queues.scan_iter("unacked:*"):
        waiting[key.decode()] = int(queues.hlen(key))
    for key in queues.scan_iter("reply:*"):
        if queues.ttl(key) == -1:  # reply lists with a TTL expire: their clients have timed out
            waiting[key.decode()] = int(queues.llen(key))
    return waiting


def user_id_of(snapshot: SystemSnapshot, email: str) -> str:
    return str(UUID(next(row["id"] for row in snapshot.table("users.users") if row["email"] == email)))
