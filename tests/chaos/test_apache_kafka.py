"""The same promises over a real Apache Kafka, whose log lives on disk and whose groups rebalance by their own rules."""

import pytest

from tests.support.apache_kafka import why_not
from tests.support.waiting import at_once, eventually

from .world import Learner, World

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "it is here"),
]


def completes(world: World) -> Learner:
    learner = Learner(world).register()
    learner.enrol(world.free_courses[0]["id"])
    for lesson_id in learner.lessons(learner.enrolled_in)[:3]:
        learner.complete(learner.enrolled_in, lesson_id)
    return learner


def assert_all_is_well(world: World, learners: list[Learner]) -> None:
    users = [learner.user_id for learner in learners]
    world.rest(users)
    assert world.findings([told for learner in learners for told in learner.told], users=users) == []


def test_three_bridges_share_the_work_and_one_of_them_dies(other_world: World) -> None:
    world = other_world
    with world.another("bridge") as second, world.another("bridge"):
        eventually(lambda: "partitions assigned" in second.log(), "a second bridge", seconds=60)
        *learners, _ = at_once(*[lambda: completes(world)] * 3, second.process.kill)
        assert_all_is_well(world, learners)


def test_a_broker_that_comes_back_goes_on_where_it_was(other_world: World) -> None:
    learner, _ = at_once(lambda: completes(other_world), lambda: other_world.kill("kafka"))
    assert_all_is_well(other_world, [learner])


def test_a_log_that_is_gone_is_written_again(other_world: World) -> None:
    before = completes(other_world)
    other_world.rest([before.user_id])
    other_world.empty_kafka()
    assert_all_is_well(other_world, [before, completes(other_world)])
