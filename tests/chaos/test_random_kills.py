"""Short runs of random kills with both brokers; ``make chaos`` runs longer."""

import os
import random

import pytest

from .chaos_platform import ChaosPlatform
from .random_kills import Intensity, Outcome, storm

# Each fault costs a restart, and other tests share the two cores.
MODERATE = Intensity(clients=2, between_scenarios=(0, 1), between_kills=(2, 6))


def run_storm(chaos_platform: ChaosPlatform, *, seconds: float) -> Outcome:
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
    chaos_platform.wait_until_idle()  # until every service has handled the events of the courses
    outcome = storm(chaos_platform, seconds=seconds, seed=seed, intensity=MODERATE)
    print(f"seed {seed}\n{outcome}")
    return outcome


def assert_exactly_once(outcome: Outcome) -> None:
    assert not outcome.failed_scenarios
    assert not outcome.findings
    assert outcome.records


@pytest.mark.slow
def test_three_minutes_of_random_kills_are_exactly_once(apache_platform: ChaosPlatform) -> None:
    assert_exactly_once(run_storm(apache_platform, seconds=180))


def test_random_kills_over_embedded_broker_are_exactly_once(chaos_platform: ChaosPlatform) -> None:
    assert_exactly_once(run_storm(chaos_platform, seconds=30))
