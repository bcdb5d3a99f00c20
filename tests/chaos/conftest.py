from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.apache_kafka import why_not
from tests.support.platform import Platform

from .world import World, own_world


@pytest.fixture
def world(stack: Platform) -> World:
    """The running platform of the test run, to be hurt."""
    return World(stack)


@pytest.fixture(scope="package")
def other_world() -> Iterator[World]:
    """A stack of its own: over Apache Kafka where that can be, its Pythons open to sabotage, and nobody repairs."""
    sabotage = str(Path(__file__).with_name("sabotage"))
    with own_world(apache=not why_not(), PYTHONPATH=sabotage, AUDIT_EVERY_SECONDS="86400") as world:
        yield world
