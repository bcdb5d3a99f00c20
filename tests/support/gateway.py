"""An HTTP client of the gateway for tests, with real tokens, real queues and a real worker in a thread."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from uuid import uuid4

import pytest
from celery.contrib.testing.worker import start_worker
from flask import Flask
from flask.testing import FlaskClient
from joserfc import jwt
from joserfc.jwk import RSAKey
from werkzeug.test import TestResponse

import settings
from api import create_app, tokens
from celery_app import celery_app
from core import cache as cache_of_reads
from core.cache import CachedView
from core.messaging.celery_transport import Transport
from models.accounts import AccountState

_KEY = RSAKey.generate_key(2048, {"kid": "tests"})


@cache
def gateway() -> Flask:
    """Return the shared gateway of this process.

    A test that changes the gateway, or the settings it is created from, must create its own.
    """
    return create_app()


@dataclass
class Person:
    """A user with a token, as a client of the gateway."""

    client: FlaskClient
    email: str = "ann@example.com"
    name: str = "Ann"
    sub: str = field(default_factory=lambda: f"auth0|{uuid4().hex}")
    permissions: tuple[str, ...] = ()
    email_verified: bool = True

    def get(self, path: str, **headers: str) -> TestResponse:
        return self.send("GET", path, **headers)

    def send(
        self, method: str, path: str, json: Any = None, *, claims: dict[str, Any] | None = None, **headers: str
    ) -> TestResponse:
        """Send a request. Headers are keywords with underscores for hyphens; ``claims`` override claims of the
        token.
        """
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.open(
            path, method=method, json=json, headers={"Authorization": f"Bearer {self.token(**claims or {})}", **named}
        )

    def token(self, **changed: Any) -> str:
        claims = {
            "iss": settings.AUTH0_ISSUER,
            "aud": settings.AUTH0_AUDIENCE,
            "sub": self.sub,
            "iat": int(time.time()),
            "exp": int(time.time()) + 600,
            "permissions": list(self.permissions),
            f"{settings.CLAIMS_NAMESPACE}email": self.email,
            f"{settings.CLAIMS_NAMESPACE}email_verified": self.email_verified,
            f"{settings.CLAIMS_NAMESPACE}name": self.name,
            **changed,
        }
        return jwt.encode({"alg": "RS256", "kid": "tests"}, claims, _KEY)


def cache_account(person: Person, *, tokens_valid_from: int = 0, blocked: bool = False) -> None:
    """Cache the account state of ``person``, for tests without a worker of the users service."""
    account = AccountState(user_id=uuid4(), tokens_valid_from=tokens_valid_from, blocked=blocked)
    cache_of_reads.delete(cache_of_reads.identity_key(person.sub))
    cache_of_reads.put(cache_of_reads.identity_key(person.sub), CachedView(1, account.encode()))


def trust_test_tokens(monkeypatch) -> None:
    """Make the gateway accept the key of ``Person.token`` as a key of Auth0."""
    signing_keys = tokens.SigningKeys("http://auth0.invalid")
    signing_keys._keys = {"tests": _KEY}  # noqa: SLF001 the test replaces Auth0
    signing_keys._fresh_until = float("inf")  # noqa: SLF001
    monkeypatch.setattr(tokens, "keys", signing_keys)


@contextmanager
def running_worker(*services: str) -> Iterator[None]:
    """Run a worker on the queues of ``services``. One at a time: two would share the event loop of the process."""
    for service in services:
        celery_app.loader.import_module(f"workers.{service}")
    with pytest.MonkeyPatch.context() as patch:
        # A worker notices that it is to stop when its blocking pop returns: by default after a second.
        patch.setattr(Transport, "brpop_timeout", 0.05)
        with start_worker(celery_app, pool="threads", concurrency=2, queues=list(services), perform_ping_check=False):
            yield


def problem(response: TestResponse) -> tuple[int, str]:
    """Return status and code of a problem response."""
    assert response.content_type == "application/problem+json"
    body = response.json
    assert {"type", "title", "status", "detail", "instance", "code", "request_id"} <= set(body)
    assert (body["status"], body["request_id"]) == (response.status_code, response.headers["X-Request-Id"])
    return response.status_code, body["code"]
