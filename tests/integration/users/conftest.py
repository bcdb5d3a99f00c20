"""Fixtures: Auth0 switched off, or its fake in a process of its own."""

from collections.abc import Iterator

import pytest

import settings
from tests.support.fake_processes import FakeProcess
from workers import users
from workers.users.auth0_client import Auth0


@pytest.fixture
def auth0_sync_disabled(monkeypatch) -> None:
    """Disable the synchronization with Auth0's management API."""
    monkeypatch.setattr(settings, "AUTH0_SYNC_ENABLED", False)


@pytest.fixture(scope="module")
def tenant(tmp_path_factory) -> Iterator[FakeProcess]:
    fake = FakeProcess("auth0", tmp_path_factory.mktemp("auth0"), "http://127.0.0.1:9")
    yield fake
    fake.kill()


@pytest.fixture
def auth0(tenant: FakeProcess, monkeypatch) -> Auth0:
    """The client of the fake tenant, as the worker injects it."""
    tenant.faults(error_429=0)
    client = Auth0(f"{tenant.url}/", settings.AUTH0_CLIENT_ID, settings.AUTH0_CLIENT_SECRET)
    monkeypatch.setattr(users, "_AUTH0", client)
    return client
