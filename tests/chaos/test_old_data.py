"""Data of 60 days, of which the inbox and the idempotency keys are forgotten: a lost log changes none of it."""

import pytest

from settings import SERVICES
from tests.support import databases
from tests.support.deliveries import deliver
from tests.support.waiting import eventually
from tests.workers.test_redelivery import differences

from .reading import read
from .world import Learner, World

pytestmark = pytest.mark.chaos

_AGE = (
    """UPDATE bus.inbox SET handled_at = handled_at - interval '60 days'
    WHERE event_id IN (SELECT id FROM bus.outbox WHERE payload ->> 'user_id' = :user)""",
    """UPDATE bus.outbox SET created_at = created_at - interval '60 days',
    published_at = published_at - interval '60 days' WHERE payload ->> 'user_id' = :user""",
    """UPDATE bus.idempotency_keys SET created_at = created_at - interval '60 days'
    WHERE scope LIKE '%' || (SELECT sub FROM users.users WHERE id = CAST(:user AS uuid)) || '%'""",
)
_TABLES = """
    SELECT table_schema || '.' || table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE'
    AND table_schema = ANY(:schemas)
"""
_FORGOTTEN = """
    SELECT count(*) = 0 FROM bus.inbox WHERE event_id IN (SELECT id FROM bus.outbox WHERE payload ->> 'user_id' = :user)
"""
_LOGS = "SELECT topic_id FROM bus.kafka_topics WHERE refill_until IS NULL"


def grow_old(world: World, learner: Learner) -> None:
    """Have all that the bus remembers of a learner happen 60 days earlier, and prune what is kept for less."""
    for sql in _AGE:
        world.platform.database.execute(sql, user=learner.user_id)
    world.platform.database.execute("DELETE FROM bus.jobs WHERE kind LIKE '%.prune_bus'")  # run again in this hour
    with databases.used(world.platform.database):
        for service in SERVICES:
            deliver(f"{service}.prune_bus")


def rows_about(world: World, learner: Learner) -> dict[str, list[str]]:
    """Every row of every table that names a learner, and their notifications, as text."""
    database, about = world.platform.database, f"%{learner.user_id}%"
    rows = {
        name: [row for (row,) in database.rows(f"SELECT t::text FROM {name} t WHERE t::text LIKE :about", about=about)]  # noqa: S608 our tables
        for (name,) in database.rows(_TABLES, schemas=["bus", *SERVICES])
    }
    rows["notifications"] = sorted(map(str, read(world.platform).about([learner.user_id]).deliveries))
    return rows


def logs_of(world: World) -> set[str]:
    """The ids of the logs that are filled, one a topic."""
    return {topic_id for (topic_id,) in world.platform.database.rows(_LOGS)}


def test_lost_log_and_forgotten_keys_change_no_data_of_60_days_ago(world: World) -> None:
    free, (returned, kept) = world.free_courses[0]["id"], [course["id"] for course in world.paid_courses[:2]]
    learner, newcomer = Learner(world).register(), Learner(world).register()
    learner.enrol(free)
    learner.complete(free, learner.lessons(free)[0])
    learner.get_back(learner.buy(returned)["order_id"])
    learner.await_end(returned)
    learner.buy(kept)
    world.rest([learner.user_id])
    grow_old(world, learner)
    before, logs = rows_about(world, learner), logs_of(world)

    world.empty_kafka()
    newcomer.buy(kept)
    eventually(lambda: len(logs_of(world) - logs) == len(SERVICES), "the refill of all topics", seconds=60)
    world.rest([learner.user_id, newcomer.user_id])
    repeated = learner.visitor.post("/v1/checkouts", {"course_id": kept, "provider": "stripe"}, key=learner.key)

    assert not differences(before, rows_about(world, learner))
    assert world.platform.database.value(_FORGOTTEN, user=learner.user_id)
    assert repeated.status_code == 409
    assert world.findings(newcomer.told, users=[newcomer.user_id]) == []
