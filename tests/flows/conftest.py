import pytest

from tests.support.platform import Platform

from .shop import Shop


@pytest.fixture
def shop(stack: Platform) -> Shop:
    """The running platform, shared by all stories: each brings learners of its own."""
    return Shop(stack)
