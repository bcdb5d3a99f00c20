import pytest

from tests.support.platform import Platform

from .harness import ScenarioHarness


@pytest.fixture
def harness(stack: Platform) -> ScenarioHarness:
    """The running platform, shared by all scenarios: each creates its own learners."""
    return ScenarioHarness(stack)
