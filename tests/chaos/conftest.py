from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.apache_kafka import missing_requirement
from tests.support.platform import Platform

from .chaos_platform import ChaosPlatform, running_chaos_platform


@pytest.fixture
def chaos_platform(stack: Platform) -> ChaosPlatform:
    """Return the running platform of the test run for fault injection."""
    return ChaosPlatform(stack)


@pytest.fixture(scope="module")
def sabotage_platform() -> Iterator[ChaosPlatform]:
    """Run a separate stack whose processes load sabotage; the audit is disabled, because it would repair the damage."""
    sabotage = str(Path(__file__).with_name("sabotage"))
    with running_chaos_platform(PYTHONPATH=sabotage, AUDIT_EVERY_SECONDS="86400") as chaos_platform:
        yield chaos_platform


@pytest.fixture(scope="package")
def apache_platform() -> Iterator[ChaosPlatform]:
    """Run a separate stack with Apache Kafka, or with the embedded broker where it is not installed."""
    with running_chaos_platform(apache=not missing_requirement()) as chaos_platform:
        yield chaos_platform
