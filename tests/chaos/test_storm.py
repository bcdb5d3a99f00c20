"""The storm of the test run, over both brokers; ``make chaos`` rages for as long as wanted."""

import os
import random

import pytest

from .storm import Force, Outcome, storm
from .world import World

pytestmark = pytest.mark.chaos


# Each blow costs a start, and other tests want the two cores too.
BESIDES = Force(clients=2, between_stories=(0, 1), between_blows=(2, 6))


def raged(world: World, *, seconds: float) -> Outcome:
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
    world.rest()  # until every service has heard of the courses
    outcome = storm(world, seconds=seconds, seed=seed, force=BESIDES)
    print(f"seed {seed}\n{outcome}")
    return outcome


def assert_nothing_is_lost_and_nothing_doubled(outcome: Outcome) -> None:
    assert not outcome.broken
    assert not outcome.findings
    assert outcome.told


def test_three_minutes_of_storm_lose_nothing_and_double_nothing(other_world: World) -> None:
    assert_nothing_is_lost_and_nothing_doubled(raged(other_world, seconds=180))


def test_a_storm_over_the_embedded_broker_loses_nothing_and_doubles_nothing(world: World) -> None:
    assert_nothing_is_lost_and_nothing_doubled(raged(world, seconds=30))
