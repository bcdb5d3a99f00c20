"""Everything that there is to read of a running platform, and whether it is at rest."""

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
from bridge.routes import ROUTES
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
        "payments.attempts",
        "payments.refunds",
        "payments.ledger_entries",
        "payments.offers",
    ),
    *("progress.course_progress", "progress.completed_lessons", "progress.outlines"),
    *("notifications.contacts", "notifications.recipients", "notifications.reminders"),
)
_UNAVAILABLE_ERRORS = (
    SQLAlchemyError,
    PyMongoError,
    RedisError,
    KafkaException,
    TimeoutError,
    requests.RequestException,
)
# What somebody still has to do; the first number that is not 0 tells what the platform is busy with.
_PENDING = {
    "events to be published": "SELECT count(*) FROM bus.outbox WHERE published_at IS NULL",
    "topics to be refilled": "SELECT count(*) FROM bus.kafka_topics WHERE refill_until IS NOT NULL",
    "webhooks to be applied": "SELECT count(*) FROM payments.provider_events WHERE status = 'received'",
    "payments of unknown outcome": "SELECT count(*) FROM payments.attempts WHERE status IN ('created', 'unknown')",
    "refunds": "SELECT count(*) FROM payments.refunds WHERE status IN ('created', 'unknown', 'pending')",
    "operations": "SELECT count(*) FROM bus.operations WHERE finished_at IS NULL",
}


def take_snapshot(platform: Platform, *, seconds: float = 60) -> SystemSnapshot:
    """What can be seen now; comparing it makes sense when ``busy`` says nothing. Servers may be on their way back."""
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
    """What the platform still has to do, in words, empty at rest. With ``users``, of events and mails only theirs."""
    for what, sql in _PENDING.items():
        if number := platform.database.value(sql):
            return f"{number} {what}"
    if missing := _unhandled(platform, users):
        return f"{len(missing)} events to be handled, by {dict(Counter(name.split()[0] for name in missing))}"
    waiting = [row for row in _notifications(platform) if row.get("state") in {"queued", "sending"}]
    if mails := [row for row in waiting if not users or row["user_id"] in users]:
        return f"{len(mails)} mails to be sent"
    if users:
        return ""  # what else is under way may be anybody's
    return ", ".join(f"{length} in {name}" for name, length in _lists(platform.queues).items() if length)


def wait_until_idle(platform: Platform, users: Collection[str] = (), *, seconds: float) -> float:
    """Return when nothing is left to do; how long that took."""
    began, doing, quiet = time.monotonic(), "everything", 0
    while time.monotonic() - began < seconds:
        looked = time.monotonic()
        try:
            doing = pending_work(platform, users)
        except _UNAVAILABLE_ERRORS as error:
            doing = repr(error)  # a server that is not back yet
        quiet = 0 if doing else quiet + 1
        if quiet == 2:
            return time.monotonic() - began
        time.sleep(min(max(0.1, 4 * (time.monotonic() - looked)), 1))  # the machine is theirs who are busy
    last_words = "\n".join(platform.stack.log("bridge").splitlines()[-30:])
    raise AssertionError(f"no rest within {seconds:g} s: {doing}. The bridge's last words:\n{last_words}")


def _rows(platform: Platform, table: str) -> list[Row]:
    found = platform.database.rows(f"SELECT to_jsonb(t) FROM {table} t ORDER BY 1")  # noqa: S608 our own names
    return [row for (row,) in found]


def _unhandled(platform: Platform, users: Collection[str]) -> list[str]:
    wanted = [{"type": type_, "name": handler} for type_, handlers in ROUTES.items() for handler in handlers]
    found = platform.database.rows(
        """SELECT handler.name, outbox.type, outbox.id, outbox.payload ->> 'user_id' FROM bus.outbox
        JOIN jsonb_to_recordset(CAST(:wanted AS jsonb)) AS handler (type text, name text) USING (type)
        WHERE NOT EXISTS (SELECT FROM bus.inbox WHERE event_id = outbox.id AND handler = handler.name)
        AND NOT EXISTS (SELECT FROM bus.dead_letters WHERE event_id = outbox.id AND handler = handler.name)
        -- The inbox forgets old events, which are not published again.
        AND coalesce(published_at, now()) > now() - make_interval(days => :days)""",
        days=settings.OUTBOX_RETENTION_DAYS,
        wanted=json.dumps(wanted),
    )
    return [f"{handler} {type_} {event}" for handler, type_, event, user in found if not users or user in users]


def _on_topics(platform: Platform) -> list[Row]:
    """Every record that the broker has, in the order of its partition."""
    reader = {"enable.partition.eof": True, "enable.auto.commit": False, "group.id": f"checker.{uuid4()}"}
    with closing(Consumer({"bootstrap.servers": brokers_of(platform), **reader})) as consumer:
        known = consumer.list_topics(timeout=10).topics
        places = [(name, number) for name in SERVICES if name in known for number in known[name].partitions]
        consumer.assign([TopicPartition(*place, OFFSET_BEGINNING) for place in places])
        return list(_to_the_end(consumer, set(places)))


def _to_the_end(consumer: Consumer, unfinished: set[tuple[str, int]]) -> Iterator[Row]:
    deadline = time.monotonic() + 60
    while unfinished:
        if time.monotonic() > deadline:
            raise TimeoutError(f"not read to the end: {unfinished}")
        for message in consumer.consume(num_messages=500, timeout=0.05):
            error = message.error()
            if error is None:
                yield _record(message)
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 it has no public name
                # Told by the reading itself: the embedded broker answers another question about its end wrongly.
                unfinished.discard((message.topic(), message.partition()))
            elif not error.retriable():
                raise KafkaException(error)


def lag(platform: Platform, service: str) -> int:
    """How many records the group of ``service`` has not committed yet."""
    topics = set(ServiceConsumer.topics_of(service))
    records = [row for row in _on_topics(platform) if row["topic"] in topics]
    places = [TopicPartition(*place) for place in {(row["topic"], row["partition"]) for row in records}]
    group = {"bootstrap.servers": brokers_of(platform), "group.id": f"coursebus.{service}", "enable.auto.commit": False}
    with closing(Consumer(group)) as consumer:
        committed = {(each.topic, each.partition): each.offset for each in consumer.committed(places, timeout=10)}
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
    with pymongo.MongoClient(url, serverSelectionTimeoutMS=5000) as client:
        fields = ("user_id", "event_id", "channel", "category", "state", "reason")
        return list(client.get_default_database("coursebus")["notifications"].find({}, dict.fromkeys(fields, 1)))


def _lists(queues: Redis) -> dict[str, int]:
    """What lies in Redis and is somebody's duty: queues, what workers have in hand, what the bridge has not heard."""
    waiting = {service: int(queues.llen(service)) for service in SERVICES}
    for key in queues.scan_iter("unacked:*"):
        waiting[key.decode()] = int(queues.hlen(key))
    for key in queues.scan_iter("reply:*"):
        if queues.ttl(key) == -1:  # the others end by themselves: whoever asked has gone
            waiting[key.decode()] = int(queues.llen(key))
    return waiting


def user_id_of(snapshot: SystemSnapshot, email: str) -> str:
    return str(UUID(next(row["id"] for row in snapshot.table("users.users") if row["email"] == email)))
