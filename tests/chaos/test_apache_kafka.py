"""The same guarantees with a real Apache Kafka, which keeps its log on disk and rebalances groups itself."""

import pytest

from tests.support.apache_kafka import missing_requirement
from tests.support.polling import eventually, run_concurrently

from .chaos_platform import ChaosPlatform, Learner

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing_requirement()), reason=missing_requirement() or "installed"),
]


def complete_three_lessons(chaos_platform: ChaosPlatform) -> Learner:
    learner = Learner(chaos_platform).register()
    learner.enrol(chaos_platform.free_courses[0]["id"])
    for lesson_id in learner.lessons(learner.course_id)[:3]:
        learner.complete(learner.course_id, lesson_id)
    return learner


def assert_no_findings(chaos_platform: ChaosPlatform, learners: list[Learner]) -> None:
    users = [learner.user_id for learner in learners]
    chaos_platform.wait_until_idle(users)
    assert chaos_platform.findings([record for learner in learners for record in learner.records], users=users) == []


def test_killed_bridge_among_three_loses_no_event(apache_platform: ChaosPlatform) -> None:
    chaos_platform = apache_platform
    with chaos_platform.extra_process("bridge") as second, chaos_platform.extra_process("bridge"):
        eventually(lambda: "partitions assigned" in second.log(), "a second bridge", seconds=60)
        *learners, _ = run_concurrently(*[lambda: complete_three_lessons(chaos_platform)] * 3, second.process.kill)
        assert_no_findings(chaos_platform, learners)


def test_restarted_broker_keeps_its_log(apache_platform: ChaosPlatform) -> None:
    learner, _ = run_concurrently(
        lambda: complete_three_lessons(apache_platform), lambda: apache_platform.kill("kafka")
    )
    assert_no_findings(apache_platform, [learner])


def test_lost_log_is_republished(apache_platform: ChaosPlatform) -> None:
    before = complete_three_lessons(apache_platform)
    apache_platform.wait_until_idle([before.user_id])
    apache_platform.wipe_kafka()
    assert_no_findings(apache_platform, [before, complete_three_lessons(apache_platform)])
