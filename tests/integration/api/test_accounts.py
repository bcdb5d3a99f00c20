"""Permissions of a token count only while the account of its user allows it."""

import time
from typing import NoReturn
from uuid import uuid4

import pytest

import settings
from api import auth
from core import cache
from core.cache import CachedView
from core.commands import Command
from models.accounts import AccountState
from models.commands import GetOrCreateUser
from models.errors import AccountErased
from tests.integration.api.test_policies import GUARDED, path_of
from tests.support.gateway import Person, cache_account, problem

WITH_PERMISSIONS = [(method, rule, policy) for method, rule, policy in GUARDED if policy.permissions]
WITHOUT_PERMISSIONS = [
    (method, rule) for method, rule, policy in GUARDED if not policy.permissions and not policy.anonymous
]
NAMED = [f"{method} {rule}" for method, rule, _ in WITH_PERMISSIONS]


@pytest.mark.parametrize(("method", "rule", "policy"), WITH_PERMISSIONS, ids=NAMED)
def test_outdated_token_has_no_permission_on_any_route(ann: Person, method, rule, policy):
    ann.permissions = policy.permissions
    cache_account(ann, tokens_valid_from=int(time.time()) + 5)

    assert problem(ann.send(method, path_of(rule))) == (401, "token_outdated")


@pytest.mark.parametrize(("method", "rule", "policy"), WITH_PERMISSIONS, ids=NAMED)
def test_blocked_account_has_no_permission_on_any_route(ann: Person, method, rule, policy):
    ann.permissions = policy.permissions
    cache_account(ann, blocked=True)

    assert problem(ann.send(method, path_of(rule))) == (403, "account_blocked")


@pytest.mark.parametrize(("method", "rule"), WITHOUT_PERMISSIONS, ids=[" ".join(each) for each in WITHOUT_PERMISSIONS])
def test_blocked_account_is_rejected_on_routes_for_everyone(ann: Person, monkeypatch, method: str, rule: str):
    monkeypatch.setattr(settings, "RATE_LIMITS", True)  # the account state is read together with the rate limit
    cache_account(ann, blocked=True)

    assert problem(ann.send(method, path_of(rule))) == (403, "account_blocked")


@pytest.mark.parametrize(("method", "rule", "policy"), WITH_PERMISSIONS, ids=NAMED)
def test_erased_account_has_no_permission_on_any_route(ann: Person, monkeypatch, method, rule, policy):
    ann.permissions = policy.permissions
    # Invalidate the account state like an erasure, so that the gateway calls the users service.
    cache.put(cache.identity_key(ann.sub), CachedView(2, b""))

    def refuse(command: Command) -> NoReturn:
        assert isinstance(command, GetOrCreateUser)
        raise AccountErased

    monkeypatch.setattr(auth, "call_without_idempotency_key", refuse)
    assert problem(ann.send(method, path_of(rule))) == (403, "account_erased")


def test_token_issued_in_the_first_valid_second_is_accepted(ann: Person):
    now = int(time.time())
    cache_account(ann, tokens_valid_from=now)

    assert ann.send("GET", "/v1/things/machines", claims={"iat": now}).status_code == 200
    assert problem(ann.send("GET", "/v1/things/machines", claims={"iat": now - 1})) == (401, "token_outdated")


def test_outdated_token_is_accepted_without_permissions(ann: Person):
    cache_account(ann, tokens_valid_from=int(time.time()) + 5)

    assert ann.send("POST", "/v1/things/1/purchase", Idempotency_Key="k").status_code == 200


def test_permission_check_needs_no_extra_cache_round_trip(ann: Person, monkeypatch):
    monkeypatch.setattr(settings, "RATE_LIMITS", True)
    monkeypatch.setattr(cache, "get", lambda _key: pytest.fail("a second round trip to the cache"))

    assert ann.get("/v1/things/machines").status_code == 200


def test_blocked_account_is_not_shown_its_own_profile(ann: Person):
    user_id = ann.sub.removeprefix("auth0|")
    cache.put(cache.profile_key(user_id), CachedView(1, b"{}"))
    identity = cache.identity_key(ann.sub)

    for version, state, shown in ((2, "", True), (3, " 7", True), (4, " 7 blocked", False)):
        cache.put(identity, CachedView(version, f"{user_id}{state}".encode()))
        assert (cache.get_own_profile(ann.sub) is not None) == shown


@pytest.mark.parametrize("account", [{}, {"tokens_valid_from": 1_700_000_000}, {"blocked": True}])
def test_account_state_encoding_roundtrip(account):
    state = AccountState(user_id=uuid4(), **account)

    assert AccountState.decode(state.encode()) == state
