import pytest

from tests.bridge.wire import Wire


@pytest.fixture
def wire(topics: str) -> Wire:
    return Wire()
