"""A short storm over the platform of the test run; ``make chaos`` rages for as long as wanted."""

import os
import random

import pytest

from .storm import storm
from .world import World

pytestmark = pytest.mark.chaos

SECONDS = 30.0


def test_in_a_storm_nothing_is_lost_and_nothing_doubled(world: World) -> None:
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
    world.rest()  # until every service has heard of the courses
    outcome = storm(world, seconds=SECONDS, seed=seed)
    print(f"seed {seed}\n{outcome}")
    assert not outcome.broken
    assert not outcome.findings
    assert outcome.told
