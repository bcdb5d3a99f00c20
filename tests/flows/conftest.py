import pytest

from .shop import Running, Shop


@pytest.fixture
def shop(stack: Running) -> Shop:
    """The running platform, shared by all stories: each brings learners of its own."""
    return Shop(stack)
