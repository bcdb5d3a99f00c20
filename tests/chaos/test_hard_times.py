"""What is no single moment: a leader that sleeps, a broker that is long away, a second beat, poison."""

import json
from uuid import uuid4

import pytest

from bridge.routes import ROUTES
from tests.support.waiting import eventually

from .world import Learner, World

pytestmark = pytest.mark.chaos

AWAY_SECONDS = 25  # the relay gives up on a broker after 8: what ten minutes are to it, three rounds are as well


def somebody(world: World) -> Learner:
    """Registered, and enrolled in a free course whose lessons may be taken in any order."""
    learner = Learner(world).register()
    learner.enrol(next(each["id"] for each in world.free_courses if not learner.course(each["id"])["sequential"]))
    return learner


def assert_all_is_well(learner: Learner) -> None:
    learner.world.rest([learner.user_id])
    assert learner.world.findings(learner.told, users=[learner.user_id]) == []


def test_an_old_leader_that_was_paused_harms_nobody(world: World) -> None:
    learner = somebody(world)
    first, second = learner.lessons(learner.enrolled_in)[:2]
    with world.another("bridge") as successor:
        with world.paused("bridge"):
            learner.complete(learner.enrolled_in, first)
            eventually(lambda: "relay leads" in successor.log(), "another leader", seconds=60)
            world.rest([learner.user_id])
        learner.complete(learner.enrolled_in, second)
        assert_all_is_well(learner)


def test_a_broker_that_is_long_away_costs_nothing_but_time(world: World) -> None:
    learner = somebody(world)
    with world.without("kafka", seconds=AWAY_SECONDS):
        learner.complete(learner.enrolled_in, learner.lessons(learner.enrolled_in)[0])
        bought = world.paid_courses[0]["id"]
        learner.pay_for(bought)  # taken, although its access has to wait
    learner.await_access(bought)
    assert_all_is_well(learner)


def test_a_second_beat_doubles_no_job(world: World) -> None:
    begun = world.platform.database.value("SELECT now()::text")
    learner = somebody(world)
    with world.another(f"celery -A celery_app beat -s {world.platform.stack.state_dir}/second-beat"):
        with world.paused("beat"):
            since = world.platform.database.value("SELECT now()::text")
            poked = "SELECT count(*) FROM bus.jobs WHERE slot > CAST(:since AS timestamptz)"
            eventually(lambda: world.platform.database.value(poked, since=since) > 2, "its pokes", seconds=60)
        learner.complete(learner.enrolled_in, learner.lessons(learner.enrolled_in)[0])
        assert_all_is_well(learner)
    twice = "SELECT kind FROM bus.jobs WHERE slot >= CAST(:begun AS timestamptz) AND attempts > 1"
    assert world.platform.database.rows(twice, begun=begun) == []


@pytest.mark.parametrize("point", ["dead letter written, not committed", "dead letter committed, not stored"])
def test_a_kill_while_a_dead_letter_is_written_keeps_one(world: World, point: str) -> None:
    learner = somebody(world)
    world.arm(point)
    event_id = tell_nonsense(world, about=learner)
    eventually(lambda: world.has_struck, f"a bridge at {point!r}", seconds=60)
    world.rest([learner.user_id])
    letters = "SELECT handler, status FROM bus.dead_letters WHERE event_id = :event ORDER BY handler"
    readers = set(ROUTES["COURSE_ARCHIVED"]) - {"integrations.keep_event"}  # which keeps whatever comes
    one_each = [(handler, "open") for handler in sorted(readers)]
    assert world.platform.database.rows(letters, event=event_id) == one_each
    learner.complete(learner.enrolled_in, learner.lessons(learner.enrolled_in)[0])  # other keys go on
    assert_all_is_well(learner)
    forget(world, event_id)


def tell_nonsense(world: World, *, about: Learner) -> str:
    """An event that no handler can read; returns its id."""
    event_id = str(uuid4())
    world.platform.database.execute(
        """INSERT INTO bus.outbox
        (id, aggregatetype, aggregateid, aggregate_version, type, payload, headers, created_at)
        VALUES (CAST(:id AS uuid), 'courses', :id, 1, 'COURSE_ARCHIVED', CAST(:payload AS jsonb), '{}', now())""",
        id=event_id,
        payload=json.dumps({"user_id": about.user_id}),
    )
    return event_id


def forget(world: World, event_id: str) -> None:
    """So that whoever waits for the last event's handler does not wait for this one's."""
    for table, column in {"bus.dead_letters": "event_id", "bus.outbox": "id"}.items():
        world.platform.database.execute(f"DELETE FROM {table} WHERE {column} = CAST(:id AS uuid)", id=event_id)  # noqa: S608 our own names
