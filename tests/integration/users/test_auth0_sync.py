"""Role changes are pushed to Auth0 through the management API of its fake, with faults on the way."""

import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
import requests

import settings
from core import cache
from core.cache import identity_key
from core.db import session_factory
from models.accounts import AccountState
from models.errors import TokenOutdated, Unavailable
from tests.integration.users.event_delivery import deliver_pending_events
from tests.integration.users.factories import make_admin
from tests.support.databases import Database
from tests.support.deliveries import deliver
from workers import users
from workers.users.auth0_client import Auth0
from workers.users.database_metrics import FAILING_AFTER_ATTEMPTS, identity_changes_failing


class Ann:
    """A user who exists in the product and in the tenant."""

    def __init__(self, tenant, database: Database) -> None:
        self.tenant, self.database = tenant, database
        self.email = f"{uuid4().hex}@example.com"
        tenant.post("/oauth/token", grant_type="password", username=self.email, password="demo")
        [account] = management(tenant, "GET", f'users?q=email:"{self.email}"')
        self.sub = account["user_id"]
        self.id = UUID(
            deliver("users.get_or_create_user", {"sub": self.sub, "email": self.email, "name": "Ann"})["result"][
                "user_id"
            ]
        )
        deliver_pending_events(database)

    def auth0_roles(self) -> list[str]:
        return sorted(role["name"] for role in management(self.tenant, "GET", f"users/{self.sub}/roles"))

    def set_roles(self, *roles: str) -> dict[str, Any]:
        version = self.database.value("SELECT version FROM users.users WHERE id = :id", id=self.id)
        message = {"user_id": self.id, "expected_version": version, "roles": list(roles)}
        by_admin = {"actor": make_admin(), "actor_token_issued_at": time.time()}
        reply = deliver("users.set_roles", message | by_admin)
        return reply["result"]

    def account(self) -> AccountState:
        return AccountState.decode(cache.get(identity_key(self.sub)).body)

    def pending_changes(self) -> list[tuple[str, int]]:
        """Return kind and remaining seconds of the changes that are not pushed to Auth0 yet."""
        rows = self.database.rows(
            "SELECT kind, extract(epoch FROM due_at - now())::int FROM users.identity_changes WHERE user_id = :id",
            id=self.id,
        )
        return [(kind, seconds) for kind, seconds in rows]

    def push_pending_changes(self) -> None:
        """Push all changes as the job does when they are due."""
        for (change_id,) in self.database.rows("SELECT id FROM users.identity_changes"):
            assert "result" in deliver("users.push_identity_change", {"change_id": change_id})


def management(tenant, method: str, path: str, body: Any = None) -> Any:
    """Call the management API as the tenant's administrator."""
    client = {"client_id": settings.AUTH0_CLIENT_ID, "client_secret": settings.AUTH0_CLIENT_SECRET}
    audience = {"audience": token_audience(tenant)}
    token = tenant.post("/oauth/token", grant_type="client_credentials", **client, **audience)["access_token"]
    response = requests.request(
        method, f"{tenant.url}/api/v2/{path}", headers={"Authorization": f"Bearer {token}"}, json=body, timeout=5
    )
    return response.json() if response.content else None


def token_audience(tenant) -> str:
    return f"{tenant.url}/api/v2/"


@pytest.fixture
def ann(tenant, auth0: Auth0, database: Database) -> Iterator[Ann]:
    yield Ann(tenant, database)
    tenant.faults(error_429=0)


def test_role_changes_are_pushed_to_auth0_immediately(ann: Ann):
    profile = ann.set_roles("instructor", "admin")

    assert profile["roles"] == ["admin", "instructor"]
    assert ann.auth0_roles() == ["admin", "instructor"]
    assert ann.pending_changes() == []


def test_removed_roles_are_removed_in_auth0(ann: Ann):
    ann.set_roles("instructor", "admin")
    ann.set_roles("instructor")

    assert ann.auth0_roles() == ["instructor"]


def test_management_token_is_reused(ann: Ann):
    before = ann.tenant.get("/__state")["tokens"]
    for roles in (["admin"], ["instructor"], ["learner"]):
        ann.set_roles(*roles)

    assert ann.tenant.get("/__state")["tokens"] - before <= 1


def test_rate_limited_push_is_retried_by_job(ann: Ann):
    ann.tenant.faults(error_429=1)
    profile = ann.set_roles("admin")
    assert profile["roles"] == ["admin"]  # stored at once; pushed to Auth0 after its rate limit
    [(kind, seconds)] = ann.pending_changes()
    assert (kind, seconds <= 15) == ("roles", True)  # from the header of Auth0's response

    ann.push_pending_changes()
    assert ann.auth0_roles() == ["admin"]
    assert ann.pending_changes() == []


def test_role_change_is_pushed_after_auth0_outage(ann: Ann, monkeypatch, auth0: Auth0):
    monkeypatch.setattr(users, "_AUTH0", Auth0("http://127.0.0.1:9/", "id", "secret"))
    assert ann.set_roles("admin")["roles"] == ["admin"]
    assert [kind for kind, _ in ann.pending_changes()] == ["roles"]

    monkeypatch.setattr(users, "_AUTH0", auth0)
    ann.push_pending_changes()
    assert ann.auth0_roles() == ["admin"]


def test_tokens_are_rejected_until_auth0_has_new_roles(ann: Ann, monkeypatch, auth0: Auth0):
    monkeypatch.setattr(users, "_AUTH0", Auth0("http://127.0.0.1:9/", "id", "secret"))
    ann.set_roles("admin")
    with pytest.raises(TokenOutdated):
        ann.account().require_current_token(time.time() + 3600)

    monkeypatch.setattr(users, "_AUTH0", auth0)
    before = time.time()
    ann.push_pending_changes()

    ann.account().require_current_token(time.time() + 1)
    with pytest.raises(TokenOutdated):
        ann.account().require_current_token(int(before))


def test_latest_pending_role_change_wins(ann: Ann, monkeypatch, auth0: Auth0):
    monkeypatch.setattr(users, "_AUTH0", Auth0("http://127.0.0.1:9/", "id", "secret"))
    ann.set_roles("admin")
    ann.set_roles("instructor")
    assert len(ann.pending_changes()) == 1

    monkeypatch.setattr(users, "_AUTH0", auth0)
    ann.push_pending_changes()
    assert ann.auth0_roles() == ["instructor"]


def test_superseded_role_change_is_pushed_again(ann: Ann, auth0: Auth0, monkeypatch):
    def push_after_change(sub: str, roles: list[str]) -> None:
        if roles == ["admin"]:
            ann.set_roles("instructor")  # changed during the request to Auth0
        Auth0.set_roles(auth0, sub, roles)

    monkeypatch.setattr(auth0, "set_roles", push_after_change)
    ann.set_roles("admin")
    assert ann.auth0_roles() == ["admin"]  # the older request arrived last

    ann.push_pending_changes()
    assert ann.auth0_roles() == ["instructor"]


def test_revoked_management_token_is_replaced(ann: Ann, auth0: Auth0, monkeypatch):
    monkeypatch.setattr(auth0, "_token", {"access_token": "void", "expires_at": time.time() + 600})
    ann.set_roles("admin")

    assert ann.auth0_roles() == ["admin"]


def test_erasure_deletes_auth0_account_and_lists_auth0(ann: Ann):
    version = ann.database.value("SELECT version FROM users.users WHERE id = :id", id=ann.id)
    operation = deliver("users.erase_own_account", {"sub": ann.sub, "expected_version": version})["result"]
    deliver_pending_events(ann.database)
    message = {"operation_id": operation["id"].removeprefix("users-"), "owner": ann.sub}
    assert deliver("users.show_operation", message)["result"]["status"] == "running"  # Auth0 has not answered

    ann.push_pending_changes()
    done = deliver("users.show_operation", message)["result"]
    assert done["status"] == "succeeded"
    assert "auth0" in {part["service"] for part in done["result"]["services"]}
    assert management(ann.tenant, "GET", f'users?q=email:"{ann.email}"') == []
    assert ann.database.count("users.identity_changes") == 0


def test_roles_beyond_first_page_are_added_and_removed(ann: Ann, auth0: Auth0):
    names = [f"group {number:03}" for number in range(120)]  # a page has 50 roles by default, 100 at most
    for name in names:
        management(ann.tenant, "POST", "roles", {"name": name})

    auth0.set_roles(ann.sub, names)
    auth0.set_roles(ann.sub, [names[0], names[-1]])

    assert ann.auth0_roles() == [names[0], names[-1]]


def test_unknown_auth0_role_raises_unavailable(auth0: Auth0):
    with pytest.raises(Unavailable):
        auth0.set_roles("auth0|unknown", ["emperor"])


def failing_changes() -> list[tuple[str, int]]:
    with session_factory("users").begin() as session:
        return [(kind, count) for kind, count in identity_changes_failing(session)]


def test_changes_that_auth0_keeps_refusing_are_counted(ann: Ann):
    ann.tenant.faults(error_429=1)
    ann.set_roles("admin")
    assert failing_changes() == [("roles", 0)]

    ann.database.execute("UPDATE users.identity_changes SET attempts = :attempts", attempts=FAILING_AFTER_ATTEMPTS)

    assert failing_changes() == [("roles", 1)]
