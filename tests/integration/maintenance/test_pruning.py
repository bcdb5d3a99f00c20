"""Pruning deletes rows after their retention and no other rows."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from core.db import new_id, utc_now
from settings import SERVICES
from tests.support.databases import Database
from tests.support.deliveries import deliver
from workers.common import maintenance


def prune(database: Database) -> None:
    # The job may have run in this hour already.
    database.execute("DELETE FROM bus.jobs WHERE kind = 'courses.prune_bus'")
    assert "crash" not in deliver("courses.prune_bus")


def insert_event(database: Database, type_: str, *, published_days_ago: int | None) -> UUID:
    event_id = new_id()
    at = None if published_days_ago is None else utc_now() - timedelta(days=published_days_ago)
    database.execute(
        """INSERT INTO bus.outbox (id, aggregatetype, aggregateid, aggregate_version, type, payload, headers,
                                   created_at, published_at)
           VALUES (:id, 'courses', :id, 1, :type, '{}', '{}', now() - interval '90 d', :at)""",
        id=str(event_id),
        type=type_,
        at=at,
    )
    return event_id


def test_published_events_are_pruned_except_projection_sources(database: Database):
    insert_event(database, "ORDER_CREATED", published_days_ago=15)
    kept = {
        insert_event(database, "ORDER_CREATED", published_days_ago=13),
        insert_event(database, "ORDER_CREATED", published_days_ago=None),
        insert_event(database, "COURSE_PUBLISHED", published_days_ago=400),
    }

    prune(database)

    assert {event_id for (event_id,) in database.rows("SELECT id FROM bus.outbox")} == kept


@pytest.mark.parametrize(
    ("table", "columns", "row", "retention"),
    [
        ("inbox", "handler, event_id, handled_at", "'h', gen_random_uuid(), {at}", timedelta(days=30)),
        (
            "handler_failures",
            "handler, event_id, attempts, failed_at",
            "'h', gen_random_uuid(), 1, {at}",
            timedelta(30),
        ),
        ("idempotency_keys", "scope, key, fingerprint, created_at", "'s', '{n}', 'f', {at}", timedelta(hours=24)),
        (
            "operations",
            "id, kind, message, owner, claim, headers, status, attempts, run_after, reply, created_at, finished_at",
            "gen_random_uuid(), 'k', '{{}}', 'o', '{{}}', '{{}}', 'succeeded', 1, {at}, '{{}}', {at}, {at}",
            timedelta(days=14),
        ),
        ("jobs", "kind, slot, attempts, run_after, finished_at", "'k', {at}, 1, {at}, {at}", timedelta(days=14)),
        (
            "dead_letters",
            "handler, event_id, topic, key, type, payload, headers, reason, status, created_at, closed_at",
            "'h', gen_random_uuid(), 't', 'k', 'T', '{{}}', '{{}}', 'r', 'replayed', {at}, {at}",
            timedelta(days=90),
        ),
    ],
)
def test_row_is_pruned_after_retention(database: Database, table: str, columns: str, row: str, retention: timedelta):
    for n, age in enumerate((retention - timedelta(minutes=5), retention + timedelta(minutes=5))):
        at = f"'{(utc_now() - age).isoformat()}'"
        database.execute(f"INSERT INTO bus.{table} ({columns}) VALUES ({row.format(at=at, n=n)})")  # noqa: S608

    prune(database)

    matching = "kind = 'k'" if table == "jobs" else "true"
    assert database.value(f"SELECT count(*) FROM bus.{table} WHERE {matching}") == 1  # noqa: S608


@pytest.mark.parametrize("job", [*(f"{service}.prune_bus" for service in SERVICES), "payments.prune_payments"])
def test_role_of_the_service_may_prune(database: Database, job: str):
    database.execute("DELETE FROM bus.jobs WHERE kind = :job", job=job)

    assert "crash" not in deliver(job)


def test_unfinished_rows_are_never_pruned(database: Database):
    database.execute("""
        INSERT INTO bus.operations
            (id, kind, message, owner, claim, headers, status, attempts, run_after, created_at)
        VALUES (gen_random_uuid(), 'k', '{}', 'o', '{}', '{}', 'pending', 0, '2000-01-01', '2000-01-01')""")
    database.execute(
        "INSERT INTO bus.jobs (kind, slot, attempts, run_after) VALUES ('k', '2000-01-01', 1, '2000-01-01')"
    )
    database.execute("""
        INSERT INTO bus.dead_letters
            (handler, event_id, topic, key, type, payload, headers, reason, status, created_at)
        VALUES ('h', gen_random_uuid(), 't', 'k', 'T', '{}', '{}', 'r', 'open', '2000-01-01')""")

    prune(database)

    assert (database.count("bus.operations"), database.count("bus.dead_letters")) == (1, 1)
    assert database.value("SELECT count(*) FROM bus.jobs WHERE kind = 'k'") == 1


def test_pruning_deletes_in_batches(database: Database, monkeypatch):
    monkeypatch.setattr(maintenance, "BATCH", 10)
    database.execute("""
        INSERT INTO bus.inbox SELECT 'h', gen_random_uuid(), '2000-01-01' FROM generate_series(1, 25)""")
    database.execute("INSERT INTO bus.inbox VALUES ('h', :id, now())", id=str(uuid4()))

    prune(database)

    assert database.count("bus.inbox") == 1
