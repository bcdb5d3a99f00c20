"""Authentication of callers, and the access policy of each route.

``@requires()`` admits any signed-in user, ``@requires("courses:write")`` a caller with that permission, ``@public``
any client. ``@signed`` is for webhooks, whose view verifies a signature; ``@liveness`` and ``@probe`` are for health
checks. A test fails for a view without one of them. The OpenAPI document shows each policy.
"""

import functools
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar
from uuid import UUID

from flask import g, request
from redis.exceptions import RedisError
from werkzeug.exceptions import HTTPException

from models import cache
from models.accounts import AccountState
from models.cache import Stored
from models.errors import (
    MachineRefused,
    Malformed,
    PermissionMissing,
    PreconditionRequired,
    TokenMissing,
    Unauthorized,
)
from models.redis import cache_redis

from . import arguments, limits, tokens
from .headers import claim_idempotency_key, refuse_storing
from .limits import PROBE, READ, WEBHOOK, WRITE, Limit
from .queue import look_up

View = TypeVar("View", bound=Callable[..., Any])

_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The access policy and rate limit of a route."""

    permissions: tuple[str, ...] = ()
    anybody: bool = False  # no token required
    machines: bool = False  # accepts machine-to-machine tokens
    idempotency_key_required: bool = False
    secret_answer: bool = False  # the response has a secret: not stored for an idempotency key or an operation
    raw_body: bool = False  # the body is passed as bytes, not parsed as JSON
    limit: Limit | None = None  # None: READ or WRITE, by the method
    limited: bool = True


@dataclass(frozen=True)
class Caller:
    """The bearer of a verified token."""

    claims: tokens.Claims

    @property
    def sub(self) -> str:
        return self.claims.sub

    @property
    def permissions(self) -> frozenset[str]:
        return self.claims.permissions

    @property
    def id(self) -> UUID:
        """The user id of the caller; the first request of a ``sub`` creates it.

        Raises MachineRefused, AccountErased, AccountBlocked.
        """
        self.account.refuse_blocked()
        return self.account.user_id

    @cached_property
    def account(self) -> AccountState:
        """The user's account. Raises MachineRefused, AccountErased."""
        if self.claims.machine:
            raise MachineRefused
        return _account_of(self)

    def refuse_known_block(self) -> None:
        """Refuse a blocked account, if the account is already loaded. Raises AccountBlocked."""
        if known := vars(self).get("account"):
            known.refuse_blocked()

    def keep_account(self, stored: Stored | None) -> None:
        """Use an account from the cache; with None, the account is loaded when it is needed."""
        if stored:
            vars(self)["account"] = AccountState.decode(stored.body)

    @property
    def actor(self) -> str:
        """The caller's name in the audit trail: ``client:<sub>`` or ``user:<id>``. Raises AccountErased."""
        return f"client:{self.sub}" if self.claims.machine else f"user:{self.account.user_id}"

    @property
    def email(self) -> str | None:
        return self.claims.email

    @property
    def name(self) -> str | None:
        return self.claims.name

    @property
    def identity(self) -> dict[str, Any]:
        """The token's claims about the user: email, name and email_verified."""
        claims = self.claims
        return {"email": claims.email, "name": claims.name, "email_verified": claims.email_verified}


def me() -> Caller:
    """Return the caller of the current request. Only for routes that require a token."""
    caller: Caller = g.caller
    return caller


def visitor() -> Caller | None:
    """Return the caller of a public view if the request has a user's token, else None.

    Raises TokenMissing if the Authorization header is not a bearer token, and TokenInvalid.
    """
    if "Authorization" not in request.headers:
        return None
    caller = _authenticate()
    return None if caller.claims.machine else caller


def requires(
    *permissions: str,
    idempotency_key: bool = False,
    machines: bool = False,
    limit: Limit | None = None,
    secret_answer: bool = False,
) -> Callable[[View], View]:
    """Admit signed-in callers that hold all ``permissions``. ``idempotency_key`` makes that header mandatory.

    A route with a ``secret_answer`` refuses ``Idempotency-Key`` and ``Prefer: respond-async`` with SecretNotStored,
    because both would store its response.

    On a route with permissions, a token issued before the latest change of roles is refused with TokenOutdated.

    Raises TokenMissing, TokenInvalid, MachineRefused, PermissionMissing, AccountErased, AccountBlocked, TokenOutdated;
    afterwards the errors of a malformed request.
    """
    policy = Policy(
        permissions=permissions,
        idempotency_key_required=idempotency_key,
        machines=machines,
        limit=limit,
        secret_answer=secret_answer,
    )
    return functools.partial(_guarded, policy)


def public(view: View) -> View:
    """Admit any client, with or without a token."""
    return _guarded(Policy(anybody=True), view)


def signed(view: View) -> View:
    """Admit any client with a raw body. The view must verify the signature."""
    return _guarded(Policy(anybody=True, raw_body=True, limit=WEBHOOK), view)


def liveness(view: View) -> View:
    """Admit any client without a rate limit: a limit must not make a live process look dead."""
    return _guarded(Policy(anybody=True, limited=False), view)


def probe(view: View) -> View:
    """Admit any client, with a rate limit that is counted in this process and needs no Redis."""
    return _guarded(Policy(anybody=True, limit=PROBE), view)


def _guarded(policy: Policy, view: View) -> View:
    taken = arguments.taken_by(view)

    @functools.wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        _admit(policy)
        try:
            if policy.secret_answer:
                refuse_storing()
            elif request.method == "POST" and not policy.anybody:
                claim_idempotency_key(me().sub, required=policy.idempotency_key_required)
            arguments.refuse_what_is_not_read(taken, raw_body=policy.raw_body)
            return view(*args, **kwargs)
        except (HTTPException, Malformed, PreconditionRequired):
            # A malformed request for an object that does not exist gets a 404, not a 400, 422 or 428.
            if find := getattr(view, "find", None):
                find(**kwargs)
            raise

    guarded.policy = policy  # type: ignore[attr-defined]
    guarded._apidoc = {**copy(getattr(view, "_apidoc", {})), "policy": policy}  # type: ignore[attr-defined]  # noqa: SLF001 flask-smorest's attribute for documentation
    return guarded  # type: ignore[return-value]  # functools.wraps does not return the view's type


def _admit(policy: Policy) -> None:
    limit = policy.limit or (READ if request.method in _SAFE_METHODS else WRITE)
    if policy.anybody:
        if policy.limited:
            limits.count(limit)
        return
    try:
        g.caller = _authenticate()
    except Unauthorized:
        limits.count(limit)  # limits the guessing of tokens by address
        raise
    is_person = not me().claims.machine
    key = cache.identity_key(me().sub) if is_person else None
    held = limits.count(limit, caller=me().sub, cached_key=key)
    if key:
        # Writes are counted on the queue Redis, which has no cached account, so that needs a second round trip.
        reads_apart = limit.server is not cache_redis
        me().keep_account(_cached_account(key) if reads_apart else cache.parse(held))
        me().refuse_known_block()
    if me().claims.machine and not policy.machines:
        raise MachineRefused
    for permission in policy.permissions:
        if permission not in me().permissions:
            raise PermissionMissing(permission)
    if policy.permissions and is_person:
        me().account.refuse_outdated(me().claims.issued_at)
    if policy.permissions:
        g.actor = me().actor


def _authenticate() -> Caller:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise TokenMissing
    return Caller(tokens.verified(token.strip()))


def _cached_account(key: str) -> Stored | None:
    try:
        return cache.get(key)
    except RedisError:
        return None  # the users service is asked instead


def _account_of(caller: Caller) -> AccountState:
    if stored := _cached_account(cache.identity_key(caller.sub)):
        return AccountState.decode(stored.body)
    identity = look_up("users.identify", sub=caller.sub, roles=caller.claims.roles, **caller.identity)
    return AccountState.decode(identity["account"].encode())
