"""Who is calling, and the policy of each route.

``@requires()`` is any signed-in person, ``@requires("courses:write")`` one with that permission; ``@public`` anybody,
``@signed`` whoever signs the body, ``@liveness`` and ``@probe`` whoever watches over the process. A view without one of
them does not pass the tests. What a policy asks is shown in the OpenAPI document by itself.
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
    """What a route asks of its caller."""

    permissions: tuple[str, ...] = ()
    anybody: bool = False
    machines: bool = False  # programs may come with a token of their own
    idempotency_key_required: bool = False
    secret_answer: bool = False  # shown once: neither a key nor an operation may store it
    raw_body: bool = False  # taken as it is, not as JSON
    limit: Limit | None = None  # None: that of reads or of writes, by the method
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
        """Our id of the user; a ``sub`` never seen before is given one now.

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
        """Refuse a blocked account where it has been read along. Raises AccountBlocked."""
        if known := vars(self).get("account"):
            known.refuse_blocked()

    def keep_account(self, stored: Stored | None) -> None:
        """Take the account that was read along with something else; without one it is asked for when needed."""
        if stored:
            vars(self)["account"] = AccountState.decode(stored.body)

    @property
    def actor(self) -> str:
        """What staff and programs are called in the record of their commands. Raises AccountErased."""
        return f"client:{self.sub}" if self.claims.machine else f"user:{self.account.user_id}"

    @property
    def email(self) -> str | None:
        return self.claims.email

    @property
    def name(self) -> str | None:
        return self.claims.name

    @property
    def identity(self) -> dict[str, Any]:
        """What the token claims of the person: email, name and email_verified."""
        claims = self.claims
        return {"email": claims.email, "name": claims.name, "email_verified": claims.email_verified}


def me() -> Caller:
    """The caller of the request at hand."""
    caller: Caller = g.caller
    return caller


def visitor() -> Caller | None:
    """Who calls a public view, where the request carries a person's token. Raises TokenInvalid."""
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
    """Admit signed-in callers that hold all ``permissions``; ``idempotency_key`` makes the header a must.

    A route with a ``secret_answer`` refuses the headers that would have its answer stored: SecretNotStored.

    The token's permissions count only while the account allows it: not after an erasure, a block or a change of roles.

    Raises TokenMissing, TokenInvalid, MachineRefused, PermissionMissing, AccountErased, AccountBlocked, TokenOutdated,
    and what the form of the request deserves, in the contract's order.
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
    """Admit anybody."""
    return _guarded(Policy(anybody=True), view)


def signed(view: View) -> View:
    """Admit anybody, with any body: the view checks who signed it."""
    return _guarded(Policy(anybody=True, raw_body=True, limit=WEBHOOK), view)


def liveness(view: View) -> View:
    """Admit anybody, as often as they like: a limit must not make a process look dead."""
    return _guarded(Policy(anybody=True, limited=False), view)


def probe(view: View) -> View:
    """Admit anybody, counted in this process alone."""
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
            # Of a request in a wrong form the first thing to say is whether there is what it speaks of.
            if find := getattr(view, "find", None):
                find(**kwargs)
            raise

    guarded.policy = policy  # type: ignore[attr-defined]
    guarded._apidoc = {**copy(getattr(view, "_apidoc", {})), "policy": policy}  # type: ignore[attr-defined]  # noqa: SLF001 flask-smorest's door for documentation
    return guarded  # type: ignore[return-value]  # functools.wraps keeps the view's own type to itself


def _admit(policy: Policy) -> None:
    limit = policy.limit or (READ if request.method in _SAFE_METHODS else WRITE)
    if policy.anybody:
        if policy.limited:
            limits.count(limit)
        return
    try:
        g.caller = _authenticate()
    except Unauthorized:
        limits.count(limit)  # an address may not try tokens for ever
        raise
    is_person = not me().claims.machine
    key = cache.identity_key(me().sub) if is_person else None
    held = limits.count(limit, caller=me().sub, cached_key=key)
    if key:
        # Purchases are counted in another Redis than the one of the cache, and nothing is read along there.
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
        return None  # the users service knows as well


def _account_of(caller: Caller) -> AccountState:
    if stored := _cached_account(cache.identity_key(caller.sub)):
        return AccountState.decode(stored.body)
    identity = look_up("users.identify", sub=caller.sub, roles=caller.claims.roles, **caller.identity)
    return AccountState.decode(identity["account"].encode())
