"""Tokens of an issuer other than Auth0, with its claims and its discovery document, are accepted by settings alone."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

import settings

KEY = RSAKey.generate_key(2048, {"kid": "realm-key", "use": "sig", "alg": "RS256"})
ENCRYPTION_KEY = RSAKey.generate_key(2048, {"kid": "other", "use": "enc"})
READ_TOKENS = """
import json, sys
from api import tokens
from models.errors import DomainError
for token in json.load(sys.stdin):
    try:
        claims = tokens.verify_token(token)
    except DomainError as error:
        print(json.dumps({"refused": error.code}))
    else:
        print(json.dumps({**vars(claims), "permissions": sorted(claims.permissions)}))
"""


class Realm(ThreadingHTTPServer):
    """An issuer with the paths of Keycloak: its key set is not where Auth0 has it."""

    daemon_threads = True

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/realms/school"


class RealmHandler(BaseHTTPRequestHandler):
    server: Realm

    def do_GET(self) -> None:
        issuer = self.server.issuer
        keys_path = "/protocol/openid-connect/certs"
        documents: dict[str, Any] = {
            "/realms/school/.well-known/openid-configuration": {"issuer": issuer, "jwks_uri": f"{issuer}{keys_path}"},
            f"/realms/school{keys_path}": KeySet([ENCRYPTION_KEY, KEY]).as_dict(private=False),
        }
        document = documents.get(self.path)
        self.send_response(200 if document else 404)
        self.end_headers()
        self.wfile.write(json.dumps(document).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def realm() -> Iterator[Realm]:
    with Realm(("127.0.0.1", 0), RealmHandler) as realm:
        thread = threading.Thread(target=realm.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield realm
        realm.shutdown()
        thread.join()


def make_token(issuer: str, **claims: Any) -> str:
    now = int(time.time())
    standard = {"iss": issuer, "aud": ["coursebus", "account"], "sub": "7f9c", "iat": now, "exp": now + 300}
    return jwt.encode({"alg": "RS256", "typ": "JWT", "kid": "realm-key"}, standard | claims, KEY)


def read_tokens(environ: dict[str, str], *tokens: str) -> list[dict[str, Any]]:
    """Return the claims that a process with these settings reads from each token."""
    completed = subprocess.run(
        [sys.executable, "-c", READ_TOKENS],
        cwd=settings.ROOT,
        env=environ,
        input=json.dumps(tokens),
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    return [
        json.loads(line) for line in completed.stdout.splitlines() if line.startswith('{"refused"') or '"sub"' in line
    ]


def test_keycloak_tokens_are_read_with_the_documented_settings(realm: Realm):
    guide = (settings.ROOT / "docs" / "guides" / "sign-in.md").read_text().partition("### Keycloak")[2]
    block = guide.partition("```ini\n")[2].partition("```")[0]
    documented = dict(line.split("=", 1) for line in block.splitlines() if line)
    environ = documented | {"OIDC_ISSUER": realm.issuer, "SECRET_KEY": "x" * 32, "WEB_CLIENT_SECRET": "y"}
    person = make_token(
        realm.issuer,
        email="ann@example.com",
        email_verified=True,
        name="Ann",
        realm_access={"roles": ["instructor", "offline_access"]},
        resource_access={"coursebus": {"roles": ["courses:write"]}, "account": {"roles": ["view-profile"]}},
    )
    machine = make_token(realm.issuer, client_id="reports", resource_access={"coursebus": {"roles": ["events:read"]}})
    of_another_client = make_token(realm.issuer, aud="account")
    of_another_realm = make_token(f"{realm.issuer}-2")

    found = read_tokens(environ, person, machine, of_another_client, of_another_realm)

    assert (
        found[0].items()
        >= {
            "sub": "7f9c",
            "email": "ann@example.com",
            "email_verified": True,
            "name": "Ann",
            "roles": ["instructor"],
            "permissions": ["courses:write"],
            "machine": False,
        }.items()
    )
    assert (found[1]["machine"], found[1]["permissions"]) == (True, ["events:read"])
    assert found[2:] == [{"refused": "token_invalid"}] * 2


def test_scope_has_the_permissions_of_machines_but_not_of_people(realm: Realm):
    environ = {
        "OIDC_ISSUER": realm.issuer,
        "OIDC_AUDIENCE": "coursebus",
        "OIDC_JWKS_URL": f"{realm.issuer}/protocol/openid-connect/certs",
        "OIDC_PERMISSIONS_CLAIM": "scope",
        "OIDC_MACHINE_CLAIM": "client_id",
        "SECRET_KEY": "x" * 32,
    }

    scopes = {"scope": "openid courses:write orders:refund"}
    machine, person = make_token(realm.issuer, client_id="reports", **scopes), make_token(realm.issuer, **scopes)

    found = read_tokens(environ, machine, person)

    assert [each["permissions"] for each in found] == [["courses:write", "openid", "orders:refund"], []]
