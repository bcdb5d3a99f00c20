from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.apache_kafka import missing_requirement
from tests.support.platform import Platform

from .chaos_platform import ChaosPlatform, running_chaos_platform


@pytest.fixture
def chaos_platform(stack: Platform) -> ChaosPlatform:
    """The running platform of the test run, to be hurt."""
    return ChaosPlatform(stack)


@pytest.fixture(scope="package")
def sabotage_platform() -> Iterator[ChaosPlatform]:
    """A stack of its own: over Apache Kafka where that can be, its Pythons open to sabotage, and nobody repairs."""
    sabotage = str(Path(__file__).with_name("sabotage"))
    with running_chaos_platform(
        apache=not missing_requirement(), PYTHONPATH=sabotage, AUDIT_EVERY_SECONDS="86400"
    ) as chaos_platform:
        yield chaos_platform
