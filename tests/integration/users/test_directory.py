"""The user directory of admins over HTTP, and search in any script."""

import json
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

import settings
from core import cache
from core.cache import profile_key
from core.db import session_factory
from models.users import User
from tests.integration.users.factories import CachedEntries, creation_of, make_user
from tests.support.databases import Database
from tests.support.gateway import Person, gateway, running_worker, trust_test_tokens
from workers.users.directory import list_users
from workers.users.profiles import initialize_profile

pytestmark = pytest.mark.usefixtures("auth0_sync_disabled")


@pytest.fixture(scope="module", autouse=True)
def users_worker() -> Iterator[None]:
    with running_worker("users"):
        yield


@pytest.fixture
def admin(monkeypatch) -> Person:
    trust_test_tokens(monkeypatch)
    return Person(gateway().test_client(), email="admin@example.com", permissions=("users:admin",))


@pytest.fixture
def ann(admin: Person) -> Person:
    person = Person(admin.client, email=f"{uuid4().hex}@example.com", name="Ann")
    create_profile(person)
    return person


def create_profile(person: Person) -> UUID:
    """Create the profile as the bridge does a moment after the first request."""
    user_id = UUID(person.get("/v1/me").json["id"])
    with session_factory("users").begin() as session:
        user = session.get_one(User, user_id)
        initialize_profile(session, CachedEntries(), event=creation_of(user, email=person.email, name=person.name))
    cache.delete(profile_key(user_id))
    return user_id


def no_people(_user_ids: Iterable[UUID]) -> None:
    """Record no person: the call does not come from a gateway."""


def find_names(session: Session, q: str = "", **filters: Any) -> list[str]:
    page = list_users(session, no_people, q=q, **{"role": None, "limit": 100, "after": None, "total": False, **filters})
    return [user["name"] for user in page["items"]]


@pytest.mark.parametrize(
    "q",
    [
        *(
            "zo\u00eb",
            "ZOE",
            "zoe anders",
            "anders",
            "nders",
            "Zoë.A",
            "zoe.a@sch\u00f6n.example",
            "Шу",
            "шура",
            "アン",
        ),
        *("a@", "  zoe   шура "),
    ],
)
def test_search_matches_name_and_address_in_any_script(session: Session, q: str):
    make_user(session, email="zoe.a@schön.example", name="Zoë Шура アン Anders")
    make_user(session, email="bob@example.com", name="Bob")

    assert "Zoë Шура アン Anders" in find_names(session, q)


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"email": "Zoe.A@Example.com"}, ["Zoë"]),
        ({"email": "zoe.a@example"}, []),
        ({"email": "zoe_a@example.com"}, []),
        ({"email_prefix": "ZOE."}, ["Zoë B", "Zoë"]),
        ({"email_prefix": "zoe_"}, []),
        ({"email_prefix": "zoe.", "q": "B"}, ["Zoë B"]),
    ],
)
def test_people_are_found_by_address_or_its_beginning(session: Session, filters: dict[str, str], found: list[str]):
    make_user(session, email="zoe.a@example.com", name="Zoë")
    make_user(session, email="zoe.b@example.com", name="Zoë B")
    make_user(session, email="ann.zoe@example.com", name="Ann")

    assert find_names(session, **filters) == found


@pytest.mark.parametrize("q", ["%", "_", "zoe bob", "xyzzy", "zoe%anders", "' OR 1=1 --"])
def test_search_requires_all_words(session: Session, q: str):
    make_user(session, email="zoe@example.net", name="Zoë Anders")

    assert "Zoë Anders" not in find_names(session, q)


def test_search_uses_index(session: Session):
    make_user(session)
    session.execute(text("SET LOCAL enable_seqscan = off"))
    plan = session.execute(text("EXPLAIN SELECT id FROM users.users WHERE search LIKE '%anders%'")).scalars()

    assert "ix_users_search" in "\n".join(plan)


def test_users_are_counted_and_paged_by_role(session: Session):
    users = [make_user(session, name=f"User {number}") for number in range(3)]
    for user in users[:2]:
        user.roles = ["admin", "learner"]
    session.flush()
    query = {"q": "", "role": "admin", "limit": 1, "total": True}
    first = list_users(session, no_people, **query, after=None)
    second = list_users(session, no_people, **query, after=first["next"])

    assert first["total"] == second["total"] == 2
    assert [page["items"][0]["name"] for page in (first, second)] == ["User 1", "User 0"]
    assert second["next"] is None


def test_user_list_is_searched_and_paged_over_http(admin: Person, ann: Person):
    others = [Person(admin.client, email=f"{number}.{ann.email}", name="Ann") for number in range(2)]
    for other in others:
        create_profile(other)
    first = admin.get(f"/v1/users?q={ann.email}&limit=2&total=true")
    second = admin.client.get(
        first.headers["Link"].split(">")[0].lstrip("<").removeprefix(settings.PUBLIC_URL),
        headers={"Authorization": f"Bearer {admin.token()}"},
    )

    assert first.json["total"] == 3
    assert [len(page.json["items"]) for page in (first, second)] == [2, 1]
    assert second.json["next_cursor"] is None
    assert second.json["items"][0]["email"] == ann.email


def test_total_is_returned_on_request_only(admin: Person):
    assert admin.get("/v1/users?limit=1").json["total"] is None


@pytest.mark.parametrize("query", ["role=emperor", "limit=0", "q=" + "x" * 201, "total=perhaps", "name=Ann"])
def test_invalid_query_returns_422(admin: Person, query: str):
    assert admin.get(f"/v1/users?{query}").status_code == 422


def test_cursor_of_other_search_returns_400(admin: Person, ann: Person):
    cursor = admin.get("/v1/users?limit=1").json["next_cursor"]

    assert admin.get(f"/v1/users?limit=1&q=ann&cursor={cursor}").status_code == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/users"),
        ("GET", "/v1/users/{id}"),
        ("PATCH", "/v1/users/{id}"),
        ("DELETE", "/v1/users/{id}"),
        ("PUT", "/v1/users/{id}/roles"),
    ],
)
def test_directory_requires_admin_permission(ann: Person, method: str, path: str):
    own = ann.get("/v1/me").json["id"]
    response = ann.send(method, path.format(id=own))

    assert (response.status_code, response.json["code"]) == (403, "insufficient_permission")


def test_admin_profile_change_is_visible_immediately(admin: Person, ann: Person):
    user_id = ann.get("/v1/me").json["id"]
    shown = admin.get(f"/v1/users/{user_id}")
    changed = admin.send("PATCH", f"/v1/users/{user_id}", {"name": "Anna"}, If_Match=shown.headers["ETag"])

    assert changed.json["name"] == "Anna"
    assert ann.get("/v1/me").json.items() >= changed.json.items()


def test_admin_sets_roles(admin: Person, ann: Person):
    user_id = ann.get("/v1/me").json["id"]
    assigned = admin.send("PUT", f"/v1/users/{user_id}/roles", {"roles": ["instructor"]}, If_Match='"2"')
    stale = admin.send("PUT", f"/v1/users/{user_id}/roles", {"roles": ["admin"]}, If_Match='"2"')

    assert (assigned.status_code, assigned.json["roles"], assigned.headers["ETag"]) == (200, ["instructor"], '"3"')
    assert (stale.status_code, stale.json["code"]) == (412, "precondition_failed")
    assert ann.get("/v1/me").json["roles"] == ["instructor"]
    assert ann.email in {user["email"] for user in admin.get("/v1/users?role=instructor&limit=100").json["items"]}


def test_change_of_roles_is_recorded_once_with_values(database: Database, admin: Person, ann: Person):
    user_id = create_profile(ann)
    admin.send("PUT", f"/v1/users/{user_id}/roles", {"roles": ["instructor"]}, If_Match='"2"')

    [(task, changes)] = database.rows("SELECT task, changes FROM bus.staff_actions WHERE kind = 'change'")
    [changed] = [row for row in changes if row["table"] == "users.users"]
    assert (task, changed["id"]) == ("users.set_roles", str(user_id))
    assert (changed["before"]["roles"], changed["after"]["roles"]) == ([], ["instructor"])


def test_own_roles_cannot_be_changed(admin: Person):
    create_profile(admin)
    own = admin.get("/v1/me").json["id"]
    response = admin.send("PUT", f"/v1/users/{own}/roles", {"roles": ["admin"]}, If_Match='"2"')

    assert (response.status_code, response.json["code"]) == (403, "self_role_change")


def test_role_change_invalidates_earlier_tokens_immediately(admin: Person, ann: Person):
    user_id = ann.get("/v1/me").json["id"]
    ann.permissions = ("users:admin",)
    assert ann.get(f"/v1/users/{user_id}").status_code == 200
    old = ann.token()
    issued_before = {"iat": int(time.time())}
    admin.send("PUT", f"/v1/users/{user_id}/roles", {"roles": ["instructor"]}, If_Match='"2"')

    for method, path in (
        ("GET", "/v1/users"),
        ("GET", f"/v1/users/{user_id}"),
        ("PATCH", f"/v1/users/{user_id}"),
        ("DELETE", f"/v1/users/{user_id}"),
        ("PUT", f"/v1/users/{user_id}/roles"),
    ):
        refused = ann.send(method, path, claims=issued_before)
        assert (refused.status_code, refused.json["code"]) == (401, "token_outdated")
    assert ann.client.get("/v1/users", headers={"Authorization": f"Bearer {old}"}).status_code == 401
    assert ann.send("GET", "/v1/me", claims=issued_before).status_code == 200
    assert ann.get("/v1/users").status_code == 200  # Auth0 has confirmed the permissions of the current token


def test_erased_admin_loses_access_immediately(admin: Person, ann: Person):
    user_id = ann.get("/v1/me").json["id"]
    ann.permissions = ("users:admin",)
    assert ann.get("/v1/users").status_code == 200
    admin.send("DELETE", f"/v1/users/{user_id}", If_Match='"2"')

    refused = ann.get("/v1/users")
    assert (refused.status_code, refused.json["code"]) == (403, "account_erased")


def test_cache_loss_does_not_restore_outdated_token(admin: Person, ann: Person):
    user_id = ann.get("/v1/me").json["id"]
    ann.permissions = ("users:admin",)
    issued_before = {"iat": int(time.time())}
    admin.send("PUT", f"/v1/users/{user_id}/roles", {"roles": ["learner"]}, If_Match='"2"')
    cache.delete(cache.identity_key(ann.sub))

    assert ann.send("GET", "/v1/users", claims=issued_before).json["code"] == "token_outdated"


def test_mutual_demotion_succeeds_once(admin: Person, ann: Person):
    create_profile(admin)
    ann.permissions = ("users:admin",)
    ids = {person.sub: person.get("/v1/me").json["id"] for person in (admin, ann)}
    start = Barrier(2)

    def demote(actor: Person, target: Person) -> int:
        path, version = f"/v1/users/{ids[target.sub]}/roles", actor.get(f"/v1/users/{ids[target.sub]}").headers["ETag"]
        start.wait()
        same_actor = Person(gateway().test_client(), sub=actor.sub, permissions=actor.permissions)
        return same_actor.send("PUT", path, {"roles": ["learner"]}, If_Match=version).status_code

    with ThreadPoolExecutor(2) as pool:
        outcomes = [pool.submit(demote, admin, ann), pool.submit(demote, ann, admin)]

    assert sorted(each.result() for each in outcomes) == [200, 401]


@pytest.mark.parametrize("roles", [["emperor"], "admin", None, [7], ["admin"] * 4])
def test_invalid_roles_return_422(admin: Person, ann: Person, roles: Any):
    user_id = ann.get("/v1/me").json["id"]

    assert admin.send("PUT", f"/v1/users/{user_id}/roles", {"roles": roles}, If_Match='"2"').status_code == 422


def test_unknown_user_returns_404_before_other_errors(admin: Person):
    for method in ("GET", "PATCH", "DELETE"):
        assert admin.send(method, f"/v1/users/{uuid4()}").status_code == 404


def test_changes_without_if_match_return_428(admin: Person, ann: Person):
    user_id = ann.get("/v1/me").json["id"]
    for method, path in (
        ("PATCH", f"/v1/users/{user_id}"),
        ("DELETE", f"/v1/users/{user_id}"),
        ("PUT", f"/v1/users/{user_id}/roles"),
    ):
        assert admin.send(method, path).status_code == 428
    assert ann.send("DELETE", "/v1/me").status_code == 428


def test_erasure_is_immediate_and_operation_readable_by_owner(ann: Person, admin: Person):
    user_id = ann.get("/v1/me").json["id"]
    accepted = ann.send("DELETE", "/v1/me", If_Match='"2"')

    assert accepted.status_code == 202
    assert accepted.json["status"] == "running"
    operation = ann.get(accepted.headers["Location"])
    assert (operation.status_code, operation.json["kind"]) == (200, "users.erase_user")
    assert admin.get(accepted.headers["Location"]).status_code == 404
    assert admin.get(f"/v1/users/{user_id}").status_code == 404
    assert admin.get(f"/v1/users?q={ann.email}").json["items"] == []
    refused = ann.get("/v1/me")
    assert (refused.status_code, refused.json["code"]) == (403, "account_erased")
    assert ann.send("DELETE", "/v1/me", If_Match='"2"').json["id"] == accepted.json["id"]


def test_admin_erases_user(admin: Person, ann: Person):
    user_id = ann.get("/v1/me").json["id"]
    accepted = admin.send("DELETE", f"/v1/users/{user_id}", If_Match='"2"', Prefer="respond-async")

    assert accepted.status_code == 202
    assert accepted.headers["Preference-Applied"] == "respond-async"
    assert admin.get(accepted.headers["Location"]).json["kind"] == "users.erase_user"


def test_auth0_webhook_requires_token(admin: Person):
    body = json.dumps({"log_id": "1", "data": {"date": "2026-05-01T12:00:00Z", "type": "s", "user_id": "auth0|x"}})

    def hook(authorization: str) -> tuple[int, Any]:
        response = admin.client.post(
            "/v1/webhooks/auth0",
            data=body,
            headers={"Authorization": authorization, "Content-Type": "application/json"},
        )
        return response.status_code, response.json.get("code")

    assert hook(f"Bearer {settings.AUTH0_WEBHOOK_TOKENS[0]}") == (200, None)
    assert hook("Bearer wrong") == (401, "webhook_unauthorized")
