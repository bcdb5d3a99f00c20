"""Who is calling: Auth0's access tokens, and the policy of each route.

``@requires()`` is any signed-in user, ``@requires("courses:write")`` one with that permission, ``@public`` anybody. A
view without a policy does not pass the tests.
"""

import functools
import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar
from uuid import UUID

import requests as http
from flask import g, request
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from redis.exceptions import RedisError

import settings
from models import cache
from models.errors import PermissionMissing, TokenInvalid, TokenMissing, Unavailable

from .headers import claim_idempotency_key
from .queue import look_up

View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True)
class Policy:
    """What a route asks of its caller; shown in the OpenAPI document."""

    permissions: tuple[str, ...] = ()
    public: bool = False
    idempotency_key_required: bool = False


@dataclass(frozen=True)
class Caller:
    """The bearer of a verified token."""

    claims: dict[str, Any]

    @property
    def sub(self) -> str:
        return str(self.claims["sub"])

    @property
    def permissions(self) -> frozenset[str]:
        return frozenset(self.claims.get("permissions", ()))

    @property
    def email(self) -> str | None:
        return self.claims.get(f"{settings.CLAIMS_NAMESPACE}email")

    @property
    def name(self) -> str | None:
        return self.claims.get(f"{settings.CLAIMS_NAMESPACE}name")

    @cached_property
    def id(self) -> UUID:
        """Our id of the user; a ``sub`` never seen before is given one now."""
        return _identify(self)


def me() -> Caller:
    """The caller of the request at hand."""
    caller: Caller = g.caller
    return caller


def visitor() -> Caller | None:
    """Who calls a public view, where the request carries a token. Raises TokenInvalid."""
    header = request.headers.get("Authorization")
    return _authenticate(header) if header else None


def requires(*permissions: str, idempotency_key: bool = False) -> Callable[[View], View]:
    """Admit signed-in callers that hold all ``permissions``; ``idempotency_key`` makes the header a must.

    Raises TokenMissing, TokenInvalid, PermissionMissing, IdempotencyKeyMissing, in this order.
    """
    policy = Policy(permissions, idempotency_key_required=idempotency_key)

    def decorate(view: View) -> View:
        @functools.wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            g.caller = _authenticate(request.headers.get("Authorization", ""))
            for permission in policy.permissions:
                if permission not in g.caller.permissions:
                    raise PermissionMissing(permission)
            if request.method == "POST":
                claim_idempotency_key(g.caller.sub, required=policy.idempotency_key_required)
            return view(*args, **kwargs)

        guarded.policy = policy  # type: ignore[attr-defined]
        return guarded  # type: ignore[return-value]

    return decorate


def public(view: View) -> View:
    """Admit anybody."""
    view.policy = Policy(public=True)  # type: ignore[attr-defined]
    return view


def _authenticate(header: str) -> Caller:
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise TokenMissing
    return Caller(_verified_claims(token.strip()))


# Verified claims by the token's hash: verifying costs 60 µs, looking up 3. Kept for a minute, so that a key which Auth0
# has withdrawn is not trusted for longer.
_CLAIMS_KEPT_SECONDS = 60
_CLAIMS_LIMIT = 10_000
_claims: OrderedDict[bytes, tuple[float, dict[str, Any]]] = OrderedDict()


def _verified_claims(token: str) -> dict[str, Any]:
    digest = hashlib.sha256(token.encode()).digest()
    known = _claims.get(digest)
    now = time.time()
    if known and known[0] > now:
        return known[1]
    claims = _verify(token)
    _claims[digest] = (min(claims["exp"], now + _CLAIMS_KEPT_SECONDS), claims)
    while len(_claims) > _CLAIMS_LIMIT:
        _claims.popitem(last=False)
    return claims


_REGISTRY = jwt.JWTClaimsRegistry(
    leeway=5,  # clocks differ a little
    iss={"essential": True, "value": settings.AUTH0_ISSUER},
    aud={"essential": True, "value": settings.AUTH0_AUDIENCE},
    sub={"essential": True},
    exp={"essential": True},
)


def _verify(token: str) -> dict[str, Any]:
    try:
        decoded = jwt.decode(token, lambda unverified: keys.of(unverified.headers().get("kid")), algorithms=["RS256"])
        _REGISTRY.validate(decoded.claims)
    except (JoseError, ValueError) as error:
        raise TokenInvalid(str(error)) from error
    if not isinstance(decoded.claims["sub"], str) or decoded.header.get("typ", "JWT").lower() not in {"jwt", "at+jwt"}:
        raise TokenInvalid("it is not an access token")
    return decoded.claims


class SigningKeys:
    """Auth0's public keys: fetched once for all threads, kept when Auth0 is away."""

    MAX_AGE_SECONDS = 600
    COOL_DOWN_SECONDS = 30  # strangers must not make us ask Auth0 for every invented key id

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._keys: dict[str, Any] = {}
        self._fetched_at = float("-inf")

    def of(self, kid: str | None) -> Any:
        """The key with this id. Raises TokenInvalid where Auth0 has none, Unavailable where it cannot be asked."""
        age = time.monotonic() - self._fetched_at
        if age > self.MAX_AGE_SECONDS or (kid not in self._keys and age > self.COOL_DOWN_SECONDS):
            with self._lock:
                if time.monotonic() - self._fetched_at >= age:  # nobody fetched while we waited
                    self._fetch()
        if kid not in self._keys:
            raise TokenInvalid("its key is not known")
        return self._keys[kid]

    def _fetch(self) -> None:
        try:
            response = http.get(self._url, timeout=5)
            response.raise_for_status()
            self._keys = {key.kid: key for key in KeySet.import_key_set(response.json()).keys if key.kid}
        except (http.RequestException, ValueError) as error:
            if not self._keys:
                raise Unavailable("Auth0") from error
        self._fetched_at = time.monotonic()


keys = SigningKeys(f"{settings.AUTH0_ISSUER}.well-known/jwks.json")


def _identify(caller: Caller) -> UUID:
    key = cache.identity_key(caller.sub)
    try:
        if stored := cache.get(key):
            return UUID(stored.body.decode())
    except RedisError:
        pass  # the users service knows as well
    identity = look_up("users.identify", sub=caller.sub, email=caller.email, name=caller.name)
    return UUID(identity["user_id"])
