"""Longer faults: a paused leader, a long outage of the broker, a second beat, and a poison message."""

import json
from uuid import uuid4

import pytest

from models.events.routes import ROUTES
from tests.support.polling import eventually

from .chaos_platform import ChaosPlatform, Learner

OUTAGE_SECONDS = 25  # the relay reconnects after 8 s; three rounds behave like ten minutes


def enrolled_learner(chaos_platform: ChaosPlatform) -> Learner:
    """Return an enrolled learner of a free, non-sequential course."""
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
        course_id = chaos_platform.paid_courses[0]["id"]
        learner.pay_for(course_id)  # captured, but access is delayed
    learner.await_access(course_id)
    assert_no_findings(learner)


def test_second_beat_does_not_duplicate_jobs(chaos_platform: ChaosPlatform) -> None:
    started_at = chaos_platform.platform.database.value("SELECT now()::text")
    learner = enrolled_learner(chaos_platform)
    with chaos_platform.extra_process("beat"):
        with chaos_platform.paused("beat"):
            since = chaos_platform.platform.database.value("SELECT now()::text")
            recent_jobs = "SELECT count(*) FROM bus.jobs WHERE slot > CAST(:since AS timestamptz)"
            eventually(
                lambda: chaos_platform.platform.database.value(recent_jobs, since=since) > 2,
                "the hints of the second beat",
                seconds=60,
            )
        learner.complete(learner.course_id, learner.lessons(learner.course_id)[0])
        assert_no_findings(learner)
    repeated_jobs = "SELECT kind FROM bus.jobs WHERE slot >= CAST(:started_at AS timestamptz) AND attempts > 1"
    assert chaos_platform.platform.database.rows(repeated_jobs, started_at=started_at) == []


@pytest.mark.parametrize("point", ["dead letter written, not committed", "dead letter committed, not stored"])
def test_crash_while_dead_lettering_stores_one_dead_letter(chaos_platform: ChaosPlatform, point: str) -> None:
    learner = enrolled_learner(chaos_platform)
    chaos_platform.arm(point)
    event_id = publish_malformed_event(chaos_platform, about=learner)
    eventually(lambda: chaos_platform.has_triggered, f"a bridge at {point!r}", seconds=60)
    chaos_platform.wait_until_idle([learner.user_id])
    dead_letters = "SELECT handler, status FROM bus.dead_letters WHERE event_id = :event ORDER BY handler"
    # Stores every event without reading it.
    handlers = set(ROUTES["COURSE_ARCHIVED"]) - {"integrations.append_event_to_log"}
    one_each = [(handler, "open") for handler in sorted(handlers)]
    assert chaos_platform.platform.database.rows(dead_letters, event=event_id) == one_each
    learner.complete(learner.course_id, learner.lessons(learner.course_id)[0])  # other keys are not blocked
    assert_no_findings(learner)
    delete_event(chaos_platform, event_id)


def publish_malformed_event(chaos_platform: ChaosPlatform, *, about: Learner) -> str:
    """Publish an event that no handler can decode; return its id."""
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
    """Delete the event, so that later tests do not wait for its handlers."""
    for table, column in {"bus.dead_letters": "event_id", "bus.outbox": "id"}.items():
        chaos_platform.platform.database.execute(f"DELETE FROM {table} WHERE {column} = CAST(:id AS uuid)", id=event_id)  # noqa: S608 constant names
