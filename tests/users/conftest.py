"""Auth0 for tests of the users service: away, or the stand-in in a process of its own."""

from collections.abc import Iterator

import pytest

import settings
from tests.standins.conftest import StandIn
from workers import users
from workers.users.management import Auth0


@pytest.fixture
def quiet_auth0(monkeypatch) -> None:
    """A tenant whose management API we have no key to."""
    monkeypatch.setattr(settings, "AUTH0_MANAGED", False)


@pytest.fixture(scope="module")
def tenant(tmp_path_factory) -> Iterator[StandIn]:
    standin = StandIn("auth0", tmp_path_factory.mktemp("auth0"), "http://127.0.0.1:9")
    yield standin
    standin.kill()


@pytest.fixture
def auth0(tenant: StandIn, monkeypatch) -> Auth0:
    """The client of that tenant, as the workers' resource lends it."""
    tenant.faults(error_429=0)
    client = Auth0(f"{tenant.url}/", settings.AUTH0_CLIENT_ID, settings.AUTH0_CLIENT_SECRET)
    monkeypatch.setattr(users, "_AUTH0", client)
    return client
