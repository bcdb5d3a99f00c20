"""Roles, as Auth0 gets to know of them: through its own API in the stand-in, whatever goes wrong on the way."""

import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
import requests

import settings
from models import cache
from models.accounts import AccountState
from models.cache import identity_key
from models.errors import TokenOutdated, Unavailable
from tests.support.databases import Database
from tests.support.deliveries import deliver
from tests.users.bus import carry
from tests.users.factories import make_admin
from workers import users
from workers.users.management import Auth0


class Ann:
    """A user of ours whom the tenant knows."""

    def __init__(self, tenant, database: Database) -> None:
        self.tenant, self.database = tenant, database
        self.email = f"{uuid4().hex}@example.com"
        tenant.post("/oauth/token", grant_type="password", username=self.email, password="demo")
        [account] = management(tenant, "GET", f'users?q=email:"{self.email}"')
        self.sub = account["user_id"]
        self.id = UUID(
            deliver("users.identify", {"sub": self.sub, "email": self.email, "name": "Ann"})["result"]["user_id"]
        )
        carry(database)

    def roles_there(self) -> list[str]:
        return sorted(role["name"] for role in management(self.tenant, "GET", f"users/{self.sub}/roles"))

    def given(self, *roles: str) -> dict[str, Any]:
        version = self.database.value("SELECT version FROM users.users WHERE id = :id", id=self.id)
        message = {"user_id": self.id, "expected_version": version, "roles": list(roles)}
        by_admin = {"actor": make_admin(), "actor_token_issued_at": time.time()}
        reply = deliver("users.set_roles", message | by_admin)
        return reply["result"]

    def account(self) -> AccountState:
        return AccountState.decode(cache.get(identity_key(self.sub)).body)

    def wishes(self) -> list[tuple[str, int]]:
        """What Auth0 is still to be told: kind, and in how many seconds."""
        rows = self.database.rows(
            "SELECT kind, extract(epoch FROM due_at - now())::int FROM users.identity_changes WHERE user_id = :id",
            id=self.id,
        )
        return [(kind, seconds) for kind, seconds in rows]

    def push(self) -> None:
        """What the job does when a wish is due."""
        for (change_id,) in self.database.rows("SELECT id FROM users.identity_changes"):
            assert "result" in deliver("users.push_identity_change", {"change_id": change_id})


def management(tenant, method: str, path: str, body: Any = None) -> Any:
    """As the tenant's administrator."""
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


def test_roles_given_here_are_there_at_once(ann: Ann):
    profile = ann.given("instructor", "admin")

    assert profile["roles"] == ["admin", "instructor"]
    assert ann.roles_there() == ["admin", "instructor"]
    assert ann.wishes() == []


def test_roles_taken_here_are_gone_there(ann: Ann):
    ann.given("instructor", "admin")
    ann.given("instructor")

    assert ann.roles_there() == ["instructor"]


def test_the_token_is_fetched_once_for_many_calls(ann: Ann):
    before = ann.tenant.get("/__state")["tokens"]
    for roles in (["admin"], ["instructor"], ["learner"]):
        ann.given(*roles)

    assert ann.tenant.get("/__state")["tokens"] - before <= 1


def test_a_429_is_honoured_and_the_job_repeats_the_call(ann: Ann):
    ann.tenant.faults(error_429=1)
    profile = ann.given("admin")
    assert profile["roles"] == ["admin"]  # ours at once; Auth0's as soon as it lets us
    [(kind, seconds)] = ann.wishes()
    assert (kind, seconds <= 15) == ("roles", True)  # its header said when

    ann.push()
    assert ann.roles_there() == ["admin"]
    assert ann.wishes() == []


def test_auth0_that_is_away_is_told_later(ann: Ann, monkeypatch, auth0: Auth0):
    monkeypatch.setattr(users, "_AUTH0", Auth0("http://127.0.0.1:9/", "id", "secret"))
    assert ann.given("admin")["roles"] == ["admin"]
    assert [kind for kind, _ in ann.wishes()] == ["roles"]

    monkeypatch.setattr(users, "_AUTH0", auth0)
    ann.push()
    assert ann.roles_there() == ["admin"]


def test_no_token_is_accepted_until_auth0_has_the_new_roles(ann: Ann, monkeypatch, auth0: Auth0):
    monkeypatch.setattr(users, "_AUTH0", Auth0("http://127.0.0.1:9/", "id", "secret"))
    ann.given("admin")
    with pytest.raises(TokenOutdated):
        ann.account().refuse_outdated(time.time() + 3600)

    monkeypatch.setattr(users, "_AUTH0", auth0)
    before = time.time()
    ann.push()

    ann.account().refuse_outdated(time.time() + 1)
    with pytest.raises(TokenOutdated):
        ann.account().refuse_outdated(int(before))


def test_the_newest_wish_wins_however_many_were_made_meanwhile(ann: Ann, monkeypatch, auth0: Auth0):
    monkeypatch.setattr(users, "_AUTH0", Auth0("http://127.0.0.1:9/", "id", "secret"))
    ann.given("admin")
    ann.given("instructor")
    assert len(ann.wishes()) == 1

    monkeypatch.setattr(users, "_AUTH0", auth0)
    ann.push()
    assert ann.roles_there() == ["instructor"]


def test_a_wish_that_was_overtaken_while_it_was_told_is_told_once_more(ann: Ann, auth0: Auth0, monkeypatch):
    def overtaken(sub: str, roles: list[str]) -> None:
        if roles == ["admin"]:
            ann.given("instructor")  # told while we are on our way
        Auth0.set_roles(auth0, sub, roles)

    monkeypatch.setattr(auth0, "set_roles", overtaken)
    ann.given("admin")
    assert ann.roles_there() == ["admin"]  # the older word came last

    ann.push()
    assert ann.roles_there() == ["instructor"]


def test_a_token_withdrawn_before_its_time_is_replaced(ann: Ann, auth0: Auth0, monkeypatch):
    monkeypatch.setattr(auth0, "_token", {"access_token": "void", "expires_at": time.time() + 600})
    ann.given("admin")

    assert ann.roles_there() == ["admin"]


def test_an_erased_user_is_deleted_there_and_auth0_is_on_the_receipt(ann: Ann):
    version = ann.database.value("SELECT version FROM users.users WHERE id = :id", id=ann.id)
    operation = deliver("users.erase_me", {"sub": ann.sub, "expected_version": version})["result"]
    carry(ann.database)
    shown = {"operation_id": operation["id"].removeprefix("users-"), "owner": ann.sub}
    assert deliver("users.show_operation", shown)["result"]["status"] == "running"  # Auth0 has not answered

    ann.push()
    done = deliver("users.show_operation", shown)["result"]
    assert done["status"] == "succeeded"
    assert "auth0" in {part["service"] for part in done["result"]["services"]}
    assert management(ann.tenant, "GET", f'users?q=email:"{ann.email}"') == []
    assert ann.database.count("users.identity_changes") == 0


def test_roles_beyond_the_first_page_are_found_given_and_taken(ann: Ann, auth0: Auth0):
    names = [f"group {number:03}" for number in range(120)]  # a page has 50 roles by default, 100 at most
    for name in names:
        management(ann.tenant, "POST", "roles", {"name": name})

    auth0.set_roles(ann.sub, names)
    auth0.set_roles(ann.sub, [names[0], names[-1]])

    assert ann.roles_there() == [names[0], names[-1]]


def test_a_role_that_auth0_does_not_know_stays_a_wish(auth0: Auth0):
    with pytest.raises(Unavailable):
        auth0.set_roles("auth0|somebody", ["emperor"])
