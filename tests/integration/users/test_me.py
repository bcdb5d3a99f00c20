from collections.abc import Iterator
from uuid import UUID

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

import settings
from core import cache
from core.cache import CachedView, identity_key, profile_key
from core.db import session_factory, utc_now
from models.users import ErasedSub, User
from tests.integration.users.factories import CachedEntries, creation_of
from tests.support.gateway import Person, gateway, running_worker, trust_test_tokens
from workers.users.profiles import initialize_profile


@pytest.fixture(scope="module", autouse=True)
def users_worker() -> Iterator[None]:
    with running_worker("users"):
        yield


@pytest.fixture
def ann(monkeypatch) -> Person:
    trust_test_tokens(monkeypatch)
    return Person(gateway().test_client())


@pytest.fixture
def cache_unavailable(monkeypatch) -> None:
    unreachable = Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))
    monkeypatch.setattr(cache, "cache_redis", lambda: unreachable)
    for script in (cache._PUT_UNLESS_NEWER, cache._OWN_PROFILE):  # noqa: SLF001 the scripts keep their client
        monkeypatch.setattr(script, "registered_client", unreachable)


@pytest.fixture
def no_queue(monkeypatch) -> None:
    """Fail on any push to a queue."""
    monkeypatch.setattr("core.messaging.task_queue.enqueue", lambda *_, **__: pytest.fail("a task was enqueued"))


def create_profile(person: Person) -> UUID:
    """Create the profile as the bridge does a moment after the first request."""
    user_id = UUID(person.get("/v1/me").json["id"])
    with session_factory("users").begin() as session:
        initialize_profile(session, CachedEntries(), event=creation_of(session.get_one(User, user_id)))
    cache.delete(profile_key(user_id))
    return user_id


def test_first_request_is_served_from_token_claims(ann: Person):
    response = ann.get("/v1/me")

    assert response.status_code == 200
    assert (response.json["email"], response.json["name"], response.json["version"]) == ("ann@example.com", "Ann", 1)
    assert response.headers["ETag"] == '"1"'


def test_profile_is_served_from_cache_without_queue(ann: Person, request):
    create_profile(ann)
    first = ann.get("/v1/me")
    request.getfixturevalue("no_queue")
    cached = ann.get("/v1/me")

    assert cached.data == first.data
    assert cached.headers["ETag"] == first.headers["ETag"] == '"2"'


def test_profile_is_read_from_cache_in_one_round_trip(ann: Person, monkeypatch):
    create_profile(ann)
    first = ann.get("/v1/me")
    monkeypatch.setattr(cache, "cache_redis", lambda: pytest.fail("the cache was read again"))

    assert ann.get("/v1/me").data == first.data


def test_cached_profile_of_erased_user_is_not_shown(ann: Person):
    user_id = create_profile(ann)
    ann.get("/v1/me")
    with session_factory("users").begin() as session:
        ErasedSub.upsert(session, session.get_one(User, user_id).sub, at=utc_now())
    cache.put(identity_key(ann.sub), CachedView(2, b""))

    assert ann.get("/v1/me").json["code"] == "account_erased"


def test_matching_etag_returns_304_without_body(ann: Person):
    create_profile(ann)
    response = ann.get("/v1/me", If_None_Match='W/"2"')

    assert (response.status_code, response.data, response.headers["ETag"]) == (304, b"", '"2"')


def test_profile_works_without_cache(ann: Person, request):
    create_profile(ann)
    request.getfixturevalue("cache_unavailable")

    assert ann.get("/v1/me").json["version"] == 2
    assert ann.send("PATCH", "/v1/me", {"name": "Anna"}, If_Match='"2"').status_code == 200
    assert ann.get("/v1/me").json["name"] == "Anna"


def test_profile_change_is_read_immediately(ann: Person):
    create_profile(ann)
    changed = ann.send(
        "PATCH",
        "/v1/me",
        {
            "name": "Анна Иванова",
            "locale": "ru",
            "timezone": "Europe/Moscow",
            "avatar_url": "https://example.com/a.png",
        },
        If_Match='"2"',
    )

    assert (changed.status_code, changed.headers["ETag"]) == (200, '"3"')
    assert ann.get("/v1/me").json == changed.json
    assert changed.json["name"] == "Анна Иванова"


def test_missing_if_match_returns_428_before_validation(ann: Person):
    response = ann.send("PATCH", "/v1/me", {"no": "field"})

    assert (response.status_code, response.json["code"]) == (428, "precondition_required")


def test_wildcard_if_match_returns_428(ann: Person):
    assert ann.send("PATCH", "/v1/me", {"name": "Anna"}, If_Match="*").status_code == 428


@pytest.mark.parametrize("etag", ['"1"', '"three"', '"99999999999999999999999"', '"2", "3"', '"²"', '"-2"'])
def test_stale_or_invalid_etag_returns_412(ann: Person, etag: str):
    create_profile(ann)
    response = ann.send("PATCH", "/v1/me", {"name": "Anna"}, If_Match=etag)

    assert (response.status_code, response.json["code"]) == (412, "precondition_failed")


def test_weak_etag_is_accepted(ann: Person):
    create_profile(ann)

    assert ann.send("PATCH", "/v1/me", {"name": "Anna"}, If_Match='W/"2"').status_code == 200


def test_failed_precondition_refreshes_stale_cache(ann: Person):
    user_id = create_profile(ann)
    stale = cache.CachedView.from_view({**ann.get("/v1/me").json, "version": 1})
    cache.delete(profile_key(user_id))
    cache.put(profile_key(user_id), stale)

    assert ann.get("/v1/me").headers["ETag"] == '"1"'
    assert ann.send("PATCH", "/v1/me", {"name": "Anna"}, If_Match='"1"').status_code == 412
    assert ann.get("/v1/me").headers["ETag"] == '"2"'


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"email": "eve@example.com"}, "/email"),
        ({"roles": ["admin"]}, "/roles"),
        ({"name": ""}, "/name"),
        ({"name": "   "}, "/name"),
        ({"name": "x" * 201}, "/name"),
        ({"name": "Ann\r\nBcc: eve@example.com"}, "/name"),
        ({"name": "Ann\x00"}, "/name"),
        ({"name": "\ud800"}, "/name"),
        ({"name": None}, "/name"),
        ({"name": 7}, "/name"),
        ({"locale": "Klingon"}, "/locale"),
        ({"locale": "en\n"}, "/locale"),
        ({"timezone": "Mars/Olympus"}, "/timezone"),
        ({"timezone": "../../etc/passwd"}, "/timezone"),
        ({"avatar_url": "javascript:alert(1)"}, "/avatar_url"),
        ({"avatar_url": "http://example.com/a.png"}, "/avatar_url"),
        ({"avatar_url": "https://example.com/" + "a" * 2048}, "/avatar_url"),
    ],
)
def test_invalid_change_returns_422_with_pointer(ann: Person, changes: dict, pointer: str):
    response = ann.send("PATCH", "/v1/me", changes, If_Match='"2"')

    assert response.status_code == 422
    assert [error["pointer"] for error in response.json["errors"]] == [pointer]


@pytest.mark.parametrize("name", ["Ann", "Анна", "O'Neil-Łukasz", "علی‌رضا", "👩‍🎓 Zoë"])
def test_name_may_use_any_script(ann: Person, name: str):
    create_profile(ann)

    assert ann.send("PATCH", "/v1/me", {"name": name}, If_Match='"2"').json["name"] == name


def test_identity_is_cached(ann: Person):
    user_id = create_profile(ann)

    assert cache.get(identity_key(ann.sub)).body.decode() == str(user_id)


def test_profiles_are_separate_per_user(ann: Person):
    create_profile(ann)
    bob = Person(ann.client, email="bob@example.com", name="Bob")

    assert bob.get("/v1/me").json["email"] == "bob@example.com"
    assert ann.get("/v1/me").json["email"] == "ann@example.com"


def test_token_claim_verifies_email(ann: Person):
    ann.email_verified = False
    create_profile(ann)
    with session_factory("users").begin() as session:
        user = session.get_one(User, UUID(ann.get("/v1/me").json["id"]))
        user.email_verified = False
    cache.delete(profile_key(user.id))
    assert ann.get("/v1/me").json["email_verified"] is False
    assert ann.get("/v1/me").json["email_verified"] is False  # from the cache

    ann.email_verified = True

    assert ann.get("/v1/me").json["email_verified"] is True
    assert ann.get("/v1/me").json["email_verified"] is True


def test_token_claim_does_not_verify_other_email(ann: Person):
    create_profile(ann)
    with session_factory("users").begin() as session:
        user = session.get_one(User, UUID(ann.get("/v1/me").json["id"]))
        user.email_verified = False
    cache.delete(profile_key(user.id))
    ann.get("/v1/me")
    ann.email = "other@example.com"

    assert ann.get("/v1/me").json["email_verified"] is False


def test_roles_and_permissions_are_those_of_the_token(ann: Person):
    create_profile(ann)
    claims = {"permissions": ["courses:write"], f"{settings.CLAIMS_NAMESPACE}roles": ["instructor"]}

    for _ in range(2):  # from the worker, then from the cache
        shown = ann.send("GET", "/v1/me", claims=claims)
        assert (shown.json["roles"], shown.json["permissions"]) == (["instructor"], ["courses:write"])
    changed = ann.send("PATCH", "/v1/me", {"name": "Bob"}, claims=claims, If_Match=shown.headers["ETag"])
    assert changed.json["permissions"] == ["courses:write"]
    assert ann.get("/v1/me").json["permissions"] == []
