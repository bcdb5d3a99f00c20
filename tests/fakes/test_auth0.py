"""The fake of Auth0, used by Authlib and joserfc like in the gateway."""

import os
import secrets
import subprocess
import sys
import threading
import time
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from joserfc import jwt
from joserfc.errors import BadSignatureError, InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

import settings
from api import tokens
from models.errors import TokenInvalid, Unavailable
from ops.dev.ports import OFFSETS
from ops.fakes.auth0.device import GRANT
from ops.fakes.auth0.users import PERMISSIONS
from tests.support.polling import eventually

AUDIENCE = settings.AUTH0_AUDIENCE


@pytest.fixture(scope="module")
def tenant(start_fake):
    return start_fake("auth0")


def sign_in(tenant, email: str, **more: str) -> dict:
    with OAuth2Session("web", token_endpoint=f"{tenant.url}/oauth/token") as client:
        return client.fetch_token(grant_type="password", username=email, password="demo", **more)


def machine_token(tenant, **message: str) -> str:
    client = {"client_id": settings.AUTH0_CLIENT_ID, "client_secret": settings.AUTH0_CLIENT_SECRET}
    return tenant.post("/oauth/token", grant_type="client_credentials", **client, **message)["access_token"]


def read(tenant, token: str) -> dict:
    keys = KeySet.import_key_set(tenant.get("/.well-known/jwks.json"))
    return jwt.decode(token, keys, algorithms=["RS256"]).claims


def test_repeated_sign_up_returns_the_same_learner(tenant):
    first = read(tenant, sign_in(tenant, "New.Learner@example.com")["access_token"])
    again = read(tenant, sign_in(tenant, "new.learner@example.com")["access_token"])
    assert first["sub"] == again["sub"]
    assert first["sub"].startswith("auth0|")
    assert first["iss"] == f"{tenant.url}/"
    assert (first["aud"], first["permissions"]) == (AUDIENCE, [])
    assert first["exp"] - first["iat"] == 24 * 3600
    assert first[f"{settings.CLAIMS_NAMESPACE}email"] == "new.learner@example.com"


def test_rotated_key_is_accepted_under_unknown_key_id_load(tenant):
    keys = tokens.SigningKeys(f"{tenant.url}/.well-known/jwks.json")
    old = jwt.decode(sign_in(tenant, "a@example.com")["access_token"], keys_of(tenant)).header["kid"]
    assert keys.get(old)
    stop = threading.Event()

    def request_unknown_keys() -> None:
        while not stop.wait(0.005):
            with suppress(TokenInvalid, Unavailable):
                keys.get(secrets.token_hex())

    threads = [threading.Thread(target=request_unknown_keys) for _ in range(4)]
    for thread in threads:
        thread.start()
    fetched_before = tenant.post("/__rotate")["jwks_fetches"]
    kid = jwt.decode(sign_in(tenant, "a@example.com")["access_token"], keys_of(tenant)).header["kid"]
    rotated_at = time.monotonic()
    eventually(lambda: is_known(keys, kid))
    took_seconds = time.monotonic() - rotated_at
    stop.set()
    for thread in threads:
        thread.join()

    assert took_seconds < 5
    assert tenant.post("/__rotate")["jwks_fetches"] - fetched_before < 10


def is_known(keys: tokens.SigningKeys, kid: str) -> bool:
    with suppress(TokenInvalid, Unavailable):
        return bool(keys.get(kid))
    return False


def keys_of(tenant) -> KeySet:
    return KeySet.import_key_set(tenant.get("/.well-known/jwks.json"))


def test_sign_up_sends_event_once(tenant, receiver):
    sub = read(tenant, sign_in(tenant, "hooked@example.com")["access_token"])["sub"]
    sign_in(tenant, "hooked@example.com")
    sent = eventually(lambda: [each for each in receiver.webhooks if sub.encode() in each.body])
    [event] = [each.event for each in sent]
    assert (event["type"], event["data"]["object"]["email"]) == ("user.created", "hooked@example.com")
    assert sent[0].headers["Authorization"] == f"Bearer {settings.AUTH0_WEBHOOK_TOKENS[0]}"


def test_demo_users_have_their_permissions(tenant):
    assert read(tenant, sign_in(tenant, "admin@demo.test")["access_token"])["permissions"] == list(PERMISSIONS)
    assert read(tenant, sign_in(tenant, "instructor@demo.test")["access_token"])["permissions"] == ["courses:write"]


def test_wrong_password_returns_403(tenant):
    form = {"grant_type": "password", "username": "learner@demo.test", "password": "wrong"}
    response = requests.post(f"{tenant.url}/oauth/token", data=form, timeout=5)
    assert response.status_code == 403
    assert response.json() == {"error": "invalid_grant", "error_description": "Wrong email or password."}


def test_openid_scope_returns_id_token_for_the_client(tenant):
    issued = sign_in(tenant, "learner@demo.test", scope="openid profile")
    assert read(tenant, issued["id_token"])["aud"] == "web"
    assert read(tenant, issued["access_token"])["aud"][0] == AUDIENCE


def test_machine_token_has_requested_scope(tenant):
    claims = read(tenant, machine_token(tenant, scope="payments:read"))
    assert (claims["gty"], claims["permissions"]) == ("client-credentials", ["payments:read"])
    assert claims["sub"] == f"{settings.AUTH0_CLIENT_ID}@clients"
    wrong = tenant.post("/oauth/token", grant_type="client_credentials", client_id="x", client_secret="y")
    assert wrong["error"] == "access_denied"


def test_previous_key_verifies_until_next_rotation(tenant):
    before = sign_in(tenant, "learner@demo.test")["access_token"]
    tenant.post("/__rotate")
    assert len(tenant.get("/.well-known/jwks.json")["keys"]) == 2
    read(tenant, before)
    tenant.post("/__rotate")
    with pytest.raises(InvalidKeyIdError):
        read(tenant, before)


def test_keys_survive_crash(tenant):
    token = sign_in(tenant, "learner@demo.test")["access_token"]
    tenant.kill()
    tenant.start()
    read(tenant, token)


def test_invalid_tokens_can_be_minted(tenant):
    def mint(**header: str | None) -> str:
        return tenant.post("/__mint", claims={"sub": "mallory"}, header=header)["token"]

    assert read(tenant, mint(typ="at+jwt")) == {"sub": "mallory"}
    assert mint(alg="none").endswith(".")
    for token in (mint(alg="none"), mint(alg="HS256"), mint(kid="unknown")):
        with pytest.raises(JoseError):
            read(tenant, token)
    forged_token = tenant.post("/__mint", claims={"sub": "mallory"}, unpublished_key=True)["token"]
    with pytest.raises(BadSignatureError):
        read(tenant, forged_token)


def test_role_added_by_management_api_is_in_next_token(tenant):
    user_id = read(tenant, sign_in(tenant, "promoted@example.com")["access_token"])["sub"]
    token = machine_token(tenant, audience=f"{tenant.url}/api/v2/")
    with requests.Session() as management_api:
        management_api.headers["Authorization"] = f"Bearer {token}"
        roles = management_api.get(f"{tenant.url}/api/v2/roles").json()
        instructor = next(role["id"] for role in roles if role["name"] == "instructor")
        granted = management_api.post(f"{tenant.url}/api/v2/users/{user_id}/roles", json={"roles": [instructor]})
        assert granted.status_code == 204
        assert read(tenant, sign_in(tenant, "promoted@example.com")["access_token"])["permissions"] == ["courses:write"]
        tenant.faults(error_429=1)
        limited = management_api.get(f"{tenant.url}/api/v2/users/{user_id}")
        assert (limited.status_code, limited.headers["x-ratelimit-remaining"]) == (429, "0")
        assert management_api.get(f"{tenant.url}/api/v2/users/{user_id}").json()["email"] == "promoted@example.com"
        management_api.headers["Authorization"] = f"Bearer {machine_token(tenant)}"
        assert management_api.get(f"{tenant.url}/api/v2/users").status_code == 401


@pytest.mark.parametrize("name", ["auth0", "stripe", "yookassa"])
def test_fake_refuses_production(name, tmp_path):
    environ = os.environ | {"ENVIRONMENT": "production", "STATE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", f"ops.fakes.{name}"]
    refused = subprocess.run(command, cwd=settings.ROOT, env=environ, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "refuses to start" in refused.stderr


def pages_url(tenant) -> str:
    """Return WEB_URL as the process of the fake has it, whose PORT_BASE is its own."""
    return f"http://127.0.0.1:{urlsplit(tenant.url).port - OFFSETS['auth0'] + OFFSETS['web']}"


def web_session(tenant) -> OAuth2Session:
    return OAuth2Session(
        *(settings.WEB_CLIENT_ID, settings.WEB_CLIENT_SECRET),
        scope="openid",
        redirect_uri=f"{pages_url(tenant)}/sign-in/callback",
        code_challenge_method="S256",
    )


def authorization_code(tenant, client: OAuth2Session, verifier: str, browser: requests.Session) -> str:
    """Sign in at the page of /authorize and return the code of the redirect."""
    url, _ = client.create_authorization_url(f"{tenant.url}/authorize", code_verifier=verifier, nonce="n-1")
    assert "learner@demo.test" in browser.get(url, timeout=10).text
    form = {"email": "web@example.com", "password": "demo"}
    answer = browser.post(url, data=form, timeout=10, allow_redirects=False)
    assert answer.headers["Location"].startswith(f"{pages_url(tenant)}/sign-in/callback?code=")
    again = browser.get(url, timeout=10, allow_redirects=False)
    assert "code=" in again.headers["Location"]  # the tenant remembers the browser
    return answer.headers["Location"]


def test_code_is_exchanged_once_for_the_verifier_of_its_request(tenant):
    verifier = secrets.token_urlsafe(48)
    with web_session(tenant) as client, requests.Session() as browser:
        callback = authorization_code(tenant, client, verifier, browser)
        exchange = {"authorization_response": callback, "url": f"{tenant.url}/oauth/token"}
        with pytest.raises(OAuthError, match="Failed to verify code verifier"):
            client.fetch_token(**exchange, code_verifier="x" * 43)
        tokens = client.fetch_token(**exchange, code_verifier=verifier)
        with pytest.raises(OAuthError, match="Invalid authorization code"):
            client.fetch_token(**exchange, code_verifier=verifier)

    assert read(tenant, tokens["id_token"])["nonce"] == "n-1"
    assert AUDIENCE in read(tenant, tokens["access_token"])["aud"]


def test_browser_is_sent_to_registered_addresses_only(tenant):
    query = {"client_id": settings.WEB_CLIENT_ID, "response_type": "code"}
    elsewhere = query | {"redirect_uri": "https://evil.example/callback"}
    assert requests.get(f"{tenant.url}/authorize", params=elsewhere, timeout=10).status_code == 400
    without_pkce = query | {"redirect_uri": f"{pages_url(tenant)}/sign-in/callback"}
    refused = requests.get(f"{tenant.url}/authorize", params=without_pkce, timeout=10, allow_redirects=False)
    assert "error=invalid_request" in refused.headers["Location"]
    logout = {"client_id": settings.WEB_CLIENT_ID, "post_logout_redirect_uri": "https://evil.example/"}
    assert requests.get(f"{tenant.url}/oidc/logout", params=logout, timeout=10).status_code == 400


def test_device_is_signed_in_once_after_its_user_confirmed(tenant):
    device = tenant.post("/oauth/device/code", client_id="cli", scope="openid")
    form = {"grant_type": GRANT, "client_id": "cli", "device_code": device["device_code"]}

    def ask(**changed: str) -> tuple[int, dict]:
        answer = requests.post(f"{tenant.url}/oauth/token", data=form | changed, timeout=10)
        return answer.status_code, answer.json()

    assert ask()[1]["error"] == "authorization_pending"
    status, early = ask()
    assert (status, early["error"]) == (429, "slow_down")
    assert ask(client_id="another")[1]["error"] == "invalid_grant"
    page = device["verification_uri_complete"]
    assert "Demo users" in requests.get(page, timeout=10).text
    assert requests.post(page, data={"email": "admin@demo.test", "password": "wrong"}, timeout=10).status_code == 400
    assert requests.post(page, data={"email": "admin@demo.test", "password": "demo"}, timeout=10).ok
    status, answer = ask()
    assert (status, read(tenant, answer["access_token"])["permissions"]) == (200, list(PERMISSIONS))
    assert ask()[1]["error"] == "invalid_grant"


def test_refused_device_is_not_signed_in(tenant):
    device = tenant.post("/oauth/device/code", client_id="cli")
    requests.post(device["verification_uri_complete"], data={"deny": "1"}, timeout=10)

    form = {"grant_type": GRANT, "client_id": "cli", "device_code": device["device_code"]}
    answer = requests.post(f"{tenant.url}/oauth/token", data=form, timeout=10)
    assert (answer.status_code, answer.json()["error"]) == (403, "access_denied")
