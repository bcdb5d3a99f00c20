"""Client of Auth0's management API: set the roles of a user and delete a user."""

import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any, Self
from urllib.parse import quote

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session

import settings
from core.log import get_logger
from models.errors import Unavailable

log = get_logger(__name__)

_TOKEN_REFRESH_MARGIN_SECONDS = 60  # refresh the token this long before it expires
_DEFAULT_RETRY_AFTER_SECONDS = 10  # wait after a 429 that states no duration
_MAX_RETRY_AFTER_SECONDS = 3600
_PAGE_SIZE = 100  # Auth0's maximum


class Auth0:
    """One Auth0 tenant. All threads share one access token, which is fetched again before it expires."""

    def __init__(self, issuer: str, client_id: str, client_secret: str) -> None:
        self._issuer = issuer
        self._client = (client_id, client_secret)
        self._lock = threading.Lock()
        self._token: dict[str, Any] = {}

    @classmethod
    def configured(cls) -> Self:
        return cls(settings.AUTH0_ISSUER, settings.AUTH0_CLIENT_ID, settings.AUTH0_CLIENT_SECRET)

    def set_roles(self, sub: str, roles: list[str]) -> None:
        """Replace the user's roles. Idempotent. Raises Unavailable."""
        path = f"users/{quote(sub, safe='')}/roles"
        known = {role["name"]: role["id"] for role in self._pages("roles")}
        if unknown := [role for role in roles if role not in known]:
            raise _unavailable(f"The role {unknown[0]} in Auth0")
        has = {role["id"] for role in self._pages(path)}
        wanted = {known[role] for role in roles}
        if missing := sorted(wanted - has):
            self._call("POST", path, {"roles": missing})
        if surplus := sorted(has - wanted):
            self._call("DELETE", path, {"roles": surplus})

    def delete_user(self, sub: str) -> None:
        """Delete the account. Idempotent. Raises Unavailable."""
        self._call("DELETE", f"users/{quote(sub, safe='')}")

    def _pages(self, path: str) -> Iterator[dict[str, Any]]:
        """Yield the items of all pages of a list."""
        for number in itertools.count():
            items = self._call("GET", f"{path}?page={number}&per_page={_PAGE_SIZE}")
            yield from items
            if len(items) < _PAGE_SIZE:
                return

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        response = self._send(method, path, body)
        if response.status_code == requests.codes.unauthorized:
            self._token = {}  # revoked before it expired: fetch a new one
            response = self._send(method, path, body)
        if response.status_code == requests.codes.too_many_requests:
            raise _rate_limited(response)
        if not response.ok:
            log.warning("Auth0 rejected the call", method=method, status=response.status_code, code=_code(response))
            raise _unavailable("Auth0's management API")
        return response.json() if response.content else None

    def _send(self, method: str, path: str, body: Any) -> requests.Response:
        url = f"{self._issuer}api/v2/{path}"
        try:
            with OAuth2Session(token=self._fresh_token()) as session:
                response: requests.Response = session.request(
                    method, url, json=body, timeout=settings.PROVIDER_TIMEOUT_SECONDS
                )
                return response
        except (requests.RequestException, AuthlibBaseError) as error:
            log.warning("Auth0 did not respond", reason=repr(error))
            raise _unavailable("Auth0") from error

    def _fresh_token(self) -> dict[str, Any]:
        with self._lock:
            if self._token.get("expires_at", 0) < time.time() + _TOKEN_REFRESH_MARGIN_SECONDS:
                client_id, client_secret = self._client
                with OAuth2Session(
                    client_id,
                    client_secret,
                    token_endpoint_auth_method="client_secret_post",  # noqa: S106 the method's name
                ) as session:
                    self._token = session.fetch_token(
                        f"{self._issuer}oauth/token",
                        grant_type="client_credentials",
                        audience=f"{self._issuer}api/v2/",
                        timeout=settings.PROVIDER_TIMEOUT_SECONDS,
                    )
            return self._token


def _rate_limited(response: requests.Response) -> Unavailable:
    """Return the error for a 429, with the wait in seconds by ``Retry-After`` or ``x-ratelimit-reset``."""
    after, reset = response.headers.get("Retry-After", ""), response.headers.get("x-ratelimit-reset", "")
    seconds = int(after) if after.isdecimal() else int(reset) - int(time.time()) if reset.isdecimal() else 0
    return _unavailable(
        "Auth0 (rate limit reached)",
        seconds=min(max(seconds, 0) or _DEFAULT_RETRY_AFTER_SECONDS, _MAX_RETRY_AFTER_SECONDS),
    )


def _unavailable(what: str, *, seconds: int | None = None) -> Unavailable:
    error = Unavailable(what)
    error.retry_after_seconds = seconds
    return error


def _code(response: requests.Response) -> str:
    try:
        return str(response.json().get("errorCode"))
    except (ValueError, AttributeError):
        return "unreadable"
