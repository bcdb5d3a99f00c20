"""What is no single moment: a leader that sleeps, a broker that is long away, a second beat, poison."""

import json
from uuid import uuid4

import pytest

from bridge.routes import ROUTES
from tests.support.polling import eventually

from .chaos_platform import ChaosPlatform, Learner

pytestmark = pytest.mark.chaos

OUTAGE_SECONDS = 25  # the relay gives up on a broker after 8: what ten minutes are to it, three rounds are as well


def enrolled_learner(chaos_platform: ChaosPlatform) -> Learner:
    """Registered, and enrolled in a free course whose lessons may be taken in any order."""
    learner = Learner(chaos_platform).register()
    learner.enrol(
        next(each["id"] for each in chaos_platform.free_courses if not learner.course(each["id"])["sequential"])
    )
    return learner


def assert_no_findings(learner: Learner) -> None:
    learner.chaos_platform.wait_until_idle([learner.user_id])
    assert learner.chaos_platform.findings(learner.records, users=[learner.user_id]) == []


def test_paused_leader_cannot_publish_after_failover(chaos_platform: ChaosPlatform) -> None:
    learner = enrolled_learner(chaos_platform)
    first, second = learner.lessons(learner.course_id)[:2]
    with chaos_platform.extra_process("bridge") as successor:
        with chaos_platform.paused("bridge"):
            learner.complete(learner.course_id, first)
            eventually(lambda: "relay became leader" in successor.log(), "another leader", seconds=60)
            chaos_platform.wait_until_idle([learner.user_id])
        learner.complete(learner.course_id, second)
        assert_no_findings(learner)


def test_long_broker_outage_is_recovered(chaos_platform: ChaosPlatform) -> None:
    learner = enrolled_learner(chaos_platform)
    with chaos_platform.stopped("kafka", seconds=OUTAGE_SECONDS):
        learner.complete(learner.course_id, learner.lessons(learner.course_id)[0])
        bought = chaos_platform.paid_courses[0]["id"]
        learner.pay_for(bought)  # taken, although its access has to wait
    learner.await_access(bought)
    assert_no_findings(learner)


def test_second_beat_does_not_duplicate_jobs(chaos_platform: ChaosPlatform) -> None:
    begun = chaos_platform.platform.database.value("SELECT now()::text")
    learner = enrolled_learner(chaos_platform)
    with chaos_platform.extra_process(
        f"celery -A celery_app beat -s {chaos_platform.platform.stack.state_dir}/second-beat"
    ):
        with chaos_platform.paused("beat"):
            since = chaos_platform.platform.database.value("SELECT now()::text")
            poked = "SELECT count(*) FROM bus.jobs WHERE slot > CAST(:since AS timestamptz)"
            eventually(lambda: chaos_platform.platform.database.value(poked, since=since) > 2, "its pokes", seconds=60)
        learner.complete(learner.course_id, learner.lessons(learner.course_id)[0])
        assert_no_findings(learner)
    twice = "SELECT kind FROM bus.jobs WHERE slot >= CAST(:begun AS timestamptz) AND attempts > 1"
    assert chaos_platform.platform.database.rows(twice, begun=begun) == []


@pytest.mark.parametrize("point", ["dead letter written, not committed", "dead letter committed, not stored"])
def test_crash_while_dead_lettering_stores_one_dead_letter(chaos_platform: ChaosPlatform, point: str) -> None:
    learner = enrolled_learner(chaos_platform)
    chaos_platform.arm(point)
    event_id = publish_malformed_event(chaos_platform, about=learner)
    eventually(lambda: chaos_platform.has_triggered, f"a bridge at {point!r}", seconds=60)
    chaos_platform.wait_until_idle([learner.user_id])
    letters = "SELECT handler, status FROM bus.dead_letters WHERE event_id = :event ORDER BY handler"
    readers = set(ROUTES["COURSE_ARCHIVED"]) - {"integrations.append_event_to_log"}  # which keeps whatever comes
    one_each = [(handler, "open") for handler in sorted(readers)]
    assert chaos_platform.platform.database.rows(letters, event=event_id) == one_each
    learner.complete(learner.course_id, learner.lessons(learner.course_id)[0])  # other keys go on
    assert_no_findings(learner)
    delete_event(chaos_platform, event_id)


def publish_malformed_event(chaos_platform: ChaosPlatform, *, about: Learner) -> str:
    """An event that no handler can read; returns its id."""
    event_id = str(uuid4())
    chaos_platform.platform.database.execute(
        """INSERT INTO bus.outbox
        (id, aggregatetype, aggregateid, aggregate_version, type, payload, headers, created_at)
        VALUES (CAST(:id AS uuid), 'courses', :id, 1, 'COURSE_ARCHIVED', CAST(:payload AS jsonb), '{}', now())""",
        id=event_id,
        payload=json.dumps({"user_id": about.user_id}),
    )
    return event_id


def delete_event(chaos_platform: ChaosPlatform, event_id: str) -> None:
    """So that whoever waits for the last event's handler does not wait for this one's."""
    for table, column in {"bus.dead_letters": "event_id", "bus.outbox": "id"}.items():
        chaos_platform.platform.database.execute(f"DELETE FROM {table} WHERE {column} = CAST(:id AS uuid)", id=event_id)  # noqa: S608 our own names
