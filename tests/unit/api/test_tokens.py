"""Only access tokens of Auth0 for this API are accepted, and the key set is fetched rarely."""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from joserfc.jwk import ECKey, KeySet, RSAKey
from prometheus_client import REGISTRY

import settings
from api import tokens
from models.errors import TokenInvalid, Unavailable
from tests.support.gateway import problem

AUTH0_KEY = RSAKey.generate_key(2048, {"kid": "current", "use": "sig"})
UNTRUSTED_KEY = RSAKey.generate_key(2048)


class Tenant(ThreadingHTTPServer):
    """A fake of Auth0's key set that counts fetches.

    ``down`` makes it respond with 500; while ``answering`` is not set, it delays its responses.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), KeySetHandler)
        self.keys: list[Any] = [AUTH0_KEY]
        self.fetches = 0
        self.down = False
        self.answering = threading.Event()
        self.answering.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class KeySetHandler(BaseHTTPRequestHandler):
    server: Tenant

    def do_GET(self) -> None:
        self.server.fetches += 1
        time.sleep(0.05)  # long enough for concurrent requests to arrive
        self.server.answering.wait(10)
        body = json.dumps(KeySet(self.server.keys).as_dict(private=False)).encode()
        self.send_response(500 if self.server.down else 200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def tenant(monkeypatch) -> Iterator[Tenant]:
    with Tenant() as tenant:
        thread = threading.Thread(target=tenant.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setattr(tokens, "keys", tokens.SigningKeys(tenant.url))
        # Tests that run in the same second create identical tokens.
        monkeypatch.setattr(tokens, "_claims_cache", OrderedDict())
        yield tenant
        tenant.shutdown()
        thread.join()


def encoded(part: Any) -> str:
    octets = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def signature(key: RSAKey, message: bytes) -> bytes:
    return key.private_key.sign(message, padding.PKCS1v15(), hashes.SHA256())


def make_token(*, key: RSAKey = AUTH0_KEY, header: Any = None, **changed: Any) -> str:
    """Return a valid token except for the ``changed`` claims; None removes a claim."""
    claims = {
        "iss": settings.AUTH0_ISSUER,
        "aud": [settings.AUTH0_AUDIENCE, "https://tenant/userinfo"],
        "sub": "auth0|ann",
        "iat": int(time.time()),
        "exp": int(time.time()) + 600,
        **changed,
    }
    header = {"alg": "RS256", "typ": "JWT", "kid": "current"} | (header or {})
    message = f"{encoded(without_none(header))}.{encoded(without_none(claims))}"
    signed = {
        "none": lambda: b"",
        "HS256": lambda: hmac.digest(AUTH0_KEY.as_pem(private=False), message.encode(), hashlib.sha256),
    }.get(header["alg"], lambda: signature(key, message.encode()))
    return f"{message}.{encoded(signed())}"


def without_none(part: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in part.items() if value is not None}


def claims_of(**changed: Any) -> tokens.Claims:
    return tokens.verify_token(make_token(**changed))


def test_valid_token_yields_claims_and_permissions(tenant: Tenant):
    profile = {f"{settings.CLAIMS_NAMESPACE}email": "ann@example.com", f"{settings.CLAIMS_NAMESPACE}name": "Ann"}
    claims = claims_of(permissions=["courses:write"], **profile)

    assert (claims.sub, claims.permissions) == ("auth0|ann", {"courses:write"})
    assert (claims.email, claims.name, claims.machine) == ("ann@example.com", "Ann", False)


INVALID_TOKENS = {
    "alg none": {"header": {"alg": "none"}},
    "public key as secret": {"header": {"alg": "HS256"}},
    "another audience": {"aud": "https://other.example"},
    "another issuer": {"iss": "https://evil.example/"},
    "expired": {"exp": int(time.time()) - 60},
    "not yet valid": {"nbf": int(time.time()) + 3600},
    "no sub": {"sub": None},
    "no exp": {"exp": None},
    "no key id": {"header": {"kid": None}},
    "unknown key id": {"header": {"kid": "unknown"}},
    "signature of another key": {"key": UNTRUSTED_KEY},
    "id token": {"aud": "coursebus-web", "header": {"typ": "JWT"}},
    # Malformed headers and claims.
    "encrypted token": {"header": {"typ": "JWE"}},
    "key id not a string": {"header": {"kid": ["current"]}},
    "key embedded in header": {"header": {"jwk": UNTRUSTED_KEY.as_dict(private=False)}, "key": UNTRUSTED_KEY},
    "type not a string": {"header": {"typ": {"a": 1}}},
    "sub not a string": {"sub": ["auth0|ann"]},
    "sub with line break": {"sub": "auth0|ann\nx"},
    "sub too long": {"sub": "a" * 256},
    "exp not a number": {"exp": "tomorrow"},
    "exp infinite": {"exp": float("inf")},
    "exp too large for a float": {"exp": 10**400},
    "aud not a string": {"aud": {"a": settings.AUTH0_AUDIENCE}},
}


@pytest.mark.parametrize("changed", INVALID_TOKENS.values(), ids=INVALID_TOKENS)
def test_invalid_token_returns_401(client, tenant: Tenant, changed: dict):
    response = client.get("/v1/me", headers={"Authorization": f"Bearer {make_token(**changed)}"})

    assert problem(response) == (401, "token_invalid")
    assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "header",
    [
        "Bearer a.b.c",
        "Bearer ..",
        f"Bearer {'x' * 8000}",
        f"Bearer {encoded(b'[' * 5000)}.e30.e30",
        f"Bearer {encoded([])}.e30.e30",
        f"Bearer {encoded(b'null')}.e30.e30",
        "Bearer \xe9.\xff.\xfe",
        f"Bearer {make_token()}.more",
        f"Bearer {make_token()} more",
    ],
    ids=range(9),
)
def test_malformed_token_returns_401(client, tenant: Tenant, header: str):
    assert problem(client.get("/v1/me", headers={"Authorization": header})) == (401, "token_invalid")


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic YTpi", "bearer"])
def test_missing_token_returns_401(client, header: str):
    assert problem(client.get("/v1/me", headers={"Authorization": header})) == (401, "token_missing")


@pytest.mark.parametrize(
    "permissions", ["courses:write", 7, {"courses:write": True}, None, [["courses:write"]], [None]]
)
def test_permissions_of_wrong_type_are_ignored(tenant: Tenant, permissions: Any):
    assert claims_of(permissions=permissions).permissions == frozenset()


@pytest.mark.parametrize(
    ("claim", "roles"),
    [
        (["admin", "emperor", "learner"], ("learner", "admin")),
        (None, ()),
        ("admin", ()),
        ([["admin"], 7], ()),
        ({}, ()),
    ],
)
def test_unknown_roles_are_ignored(tenant: Tenant, claim: Any, roles: tuple):
    assert claims_of(**{f"{settings.CLAIMS_NAMESPACE}roles": claim}).roles == roles


@pytest.mark.parametrize("name", [7, "", "  ", "Ann\x00", "Ann\r\nBcc: eve", "\ud800", ["Ann"]])
def test_invalid_name_claim_is_ignored(tenant: Tenant, name: Any):
    assert claims_of(**{f"{settings.CLAIMS_NAMESPACE}name": name}).name is None


@pytest.mark.parametrize("claim", [False, "true", 1, None, [True]])
def test_email_is_verified_only_if_claim_is_true(tenant: Tenant, claim: Any):
    name = f"{settings.CLAIMS_NAMESPACE}email_verified"

    assert claims_of(**{name: True}).email_verified
    assert not claims_of(**{name: claim}).email_verified


# Key set.


def call_concurrently(call, times: int) -> list[Any]:
    start = threading.Barrier(20)

    def call_together(number: int) -> Any:
        start.wait()
        try:
            return call(number)
        except (TokenInvalid, Unavailable) as error:
            return type(error)

    with ThreadPoolExecutor(20) as pool:
        return list(pool.map(call_together, range(times)))


def test_concurrent_unknown_key_ids_fetch_keys_once(tenant: Tenant):
    results = call_concurrently(lambda number: tokens.keys.get(f"invented-{number}"), 200)

    assert set(results) == {TokenInvalid}
    assert tenant.fetches == 1


def test_concurrent_first_requests_fetch_keys_once(tenant: Tenant):
    results = call_concurrently(lambda _: tokens.keys.get("current").kid, 20)

    assert set(results) == {"current"}
    assert tenant.fetches == 1


def test_rotated_key_is_found_and_next_search_is_delayed(tenant: Tenant, monkeypatch):
    monkeypatch.setattr(tokens.keys, "COOL_DOWN_SECONDS", 0.2)
    tokens.keys.get("current")
    time.sleep(0.2)
    tenant.keys = [RSAKey.generate_key(2048, {"kid": "next", "use": "sig"}), AUTH0_KEY]

    assert tokens.keys.get("next").kid == "next"
    for _ in range(5):
        with pytest.raises(TokenInvalid):
            tokens.keys.get("invented")
    assert tenant.fetches == 2


def test_stale_keys_are_refreshed_in_background(tenant: Tenant, monkeypatch):
    monkeypatch.setattr(tokens.keys, "MAX_AGE_SECONDS", 0)
    tokens.keys.get("current")
    tenant.answering.clear()
    assert tokens.keys.get("current").kid == "current"  # before Auth0 has responded
    deadline = time.monotonic() + 10
    while tenant.fetches < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert tenant.fetches == 2
    assert not tokens.keys._fetching.acquire(blocking=False)  # noqa: SLF001 the fetch is still waiting
    tenant.answering.set()


def test_known_keys_stay_valid_while_auth0_is_down(tenant: Tenant, monkeypatch):
    monkeypatch.setattr(tokens.keys, "MAX_AGE_SECONDS", 0)
    tokens.keys.get("current")
    tenant.down = True
    for _ in range(3):
        assert tokens.keys.get("current").kid == "current"
        time.sleep(0.1)


def test_unknown_key_returns_503_while_auth0_is_down(client, tenant: Tenant):
    failed = {"to": "issuer", "call": "keys", "outcome": "unavailable"}
    before = REGISTRY.get_sample_value("coursebus_external_call_seconds_count", failed) or 0
    tenant.down = True
    response = client.get("/v1/me", headers={"Authorization": f"Bearer {make_token()}"})

    assert problem(response) == (503, "unavailable")
    assert tenant.fetches == 1
    client.get("/v1/me", headers={"Authorization": f"Bearer {make_token()}"})
    assert tenant.fetches == 1, "the key set is not fetched for every request while Auth0 is down"
    assert REGISTRY.get_sample_value("coursebus_external_call_seconds_count", failed) == before + 1


def test_keys_of_other_types_are_ignored(tenant: Tenant):
    tenant.keys = [ECKey.generate_key("P-256", {"kid": "elliptic"}), AUTH0_KEY]

    assert tokens.keys.get("current").kid == "current"
    with pytest.raises(TokenInvalid):
        tokens.keys.get("elliptic")


# Claims cache.


def test_verified_token_is_cached_for_a_minute(tenant: Tenant, monkeypatch):
    token = make_token()
    first = tokens.verify_token(token)
    monkeypatch.setattr(tokens, "_verify", lambda _: pytest.fail("the token was verified again"))

    assert tokens.verify_token(token) is first
    until, _ = tokens._claims_cache[hashlib.sha256(token.encode()).digest()]  # noqa: SLF001
    assert until - time.time() <= 60


def test_cached_claims_expire_with_their_token(tenant: Tenant):
    token = make_token(exp=int(time.time()) + 1)
    tokens.verify_token(token)
    until, claims = tokens._claims_cache[hashlib.sha256(token.encode()).digest()]  # noqa: SLF001

    assert until == claims.expires_at


def test_claims_cache_is_bounded(tenant: Tenant, monkeypatch):
    monkeypatch.setattr(tokens, "_CACHE_SIZE", 10)
    for number in range(20):
        claims_of(sub=f"auth0|{number}")

    assert len(tokens._claims_cache) == 10  # noqa: SLF001
