"""Authentication of callers, and the access policy of each route.

``@require_auth()`` admits signed-in users, ``@require_auth("courses:write")`` callers with that permission, ``@public``
any client. ``@raw_webhook`` is for webhooks, whose view checks a signature; ``@liveness`` and ``@probe`` are for health
checks. A test fails for a view without one of them. The OpenAPI document shows each policy.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar, cast
from uuid import UUID

from flask import g, request
from redis.exceptions import RedisError
from werkzeug.exceptions import HTTPException

from core import cache, stream_tickets
from core.cache import CachedView
from core.redis import cache_redis
from models.accounts import AccountState
from models.commands import GetOrCreateUser
from models.errors import (
    InsufficientPermission,
    MachineTokenNotAllowed,
    Malformed,
    PreconditionRequired,
    TokenInvalid,
    TokenMissing,
    Unauthorized,
)

from . import rate_limits, request_parsing, tokens
from .rate_limits import PROBE, READ, WEBHOOK, WRITE, Limit
from .request_context import claim_idempotency_key, reject_response_storage
from .rpc import call_without_idempotency_key
from .view_attributes import Policy, attributes_of, document, set_policy

View = TypeVar("View", bound=Callable[..., Any])

_STREAM_QUERY = frozenset({"ticket", "last_event_id"})  # what a view that accepts a ticket reads from its query
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


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

        Raises MachineTokenNotAllowed, AccountErased, AccountBlocked.
        """
        self.account.require_not_blocked()
        return self.account.user_id

    @cached_property
    def account(self) -> AccountState:
        """The user's account. Raises MachineTokenNotAllowed, AccountErased."""
        if self.claims.machine:
            raise MachineTokenNotAllowed
        return _get_account(self)

    def reject_if_known_blocked(self) -> None:
        """Refuse a blocked account, if the account is already loaded. Raises AccountBlocked."""
        if known := vars(self).get("account"):
            known.require_not_blocked()

    def use_cached_account(self, stored: CachedView | None) -> None:
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


def current_caller() -> Caller:
    """Return the caller of the current request. Only for routes that require a token."""
    caller: Caller = g.caller
    return caller


def optional_caller() -> Caller | None:
    """Return the caller of a public view if the request has a user's token, else None.

    Raises TokenMissing if the Authorization header is not a bearer token, and TokenInvalid.
    """
    if "Authorization" not in request.headers:
        return None
    caller = _authenticate()
    return None if caller.claims.machine else caller


def require_auth(
    *permissions: str,
    idempotency_key: bool = False,
    machines: bool = False,
    limit: Limit | None = None,
    reads_personal_data: bool = False,
    accepts_ticket: bool = False,
    returns_secret: bool = False,
) -> Callable[[View], View]:
    """Admit signed-in callers that hold all ``permissions``. ``idempotency_key`` makes that header mandatory.

    A route with a ``returns_secret`` refuses ``Idempotency-Key`` and ``Prefer: respond-async`` with SecretNotStored,
    because both would store its response. A route with permissions that ``reads_personal_data`` of other people records
    each read in the audit log. One that ``accepts_ticket`` also admits the holder of a ticket in its query.

    On a route with permissions, a token issued before the latest change of roles is refused with TokenOutdated.

    Raises TokenMissing, TokenInvalid, MachineTokenNotAllowed, InsufficientPermission, AccountErased, AccountBlocked,
    TokenOutdated; afterwards the errors of a malformed request.
    """
    policy = Policy(
        permissions=permissions,
        idempotency_key_required=idempotency_key,
        machines=machines,
        limit=limit,
        reads_personal_data=reads_personal_data,
        accepts_ticket=accepts_ticket,
        returns_secret=returns_secret,
    )
    return functools.partial(_with_policy, policy)


def record_read() -> None:
    """Record the queries of this request in the audit log: the caller reads personal data of another person."""
    g.actor, g.is_recorded_read = current_caller().actor, True


def public(view: View) -> View:
    """Admit any client, with or without a token."""
    return _with_policy(Policy(anonymous=True), view)


def raw_webhook(view: View) -> View:
    """Admit any client with a raw body. The view must verify the signature."""
    return _with_policy(Policy(anonymous=True, raw_body=True, limit=WEBHOOK), view)


def liveness(view: View) -> View:
    """Admit any client without a rate limit: a limit must not make a live process look dead."""
    return _with_policy(Policy(anonymous=True, rate_limited=False), view)


def probe(view: View) -> View:
    """Admit any client, with a rate limit that is counted in this process and needs no Redis."""
    return _with_policy(Policy(anonymous=True, limit=PROBE), view)


def _with_policy(policy: Policy, view: View) -> View:
    declared = request_parsing.declared_locations(view)
    query_names = _STREAM_QUERY if policy.accepts_ticket else frozenset()

    @functools.wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        _authorize(policy)
        try:
            if policy.returns_secret:
                reject_response_storage()
            elif request.method == "POST" and not policy.anonymous:
                claim_idempotency_key(current_caller().sub, required=policy.idempotency_key_required)
            request_parsing.reject_unexpected_input(declared, raw_body=policy.raw_body, query_names=query_names)
            return view(*args, **kwargs)
        except (HTTPException, Malformed, PreconditionRequired):
            # A malformed request for an object that does not exist gets a 404, not a 400, 422 or 428.
            if existence_check := attributes_of(view).existence_check:
                existence_check(**kwargs)
            raise

    set_policy(wrapper, policy)
    document(wrapper, policy=policy)
    return cast("View", wrapper)


def _authorize(policy: Policy) -> None:
    limit = policy.limit or (READ if request.method in _SAFE_METHODS else WRITE)
    if policy.anonymous:
        if policy.rate_limited:
            rate_limits.check(limit)
        return
    try:
        g.caller = _redeem_ticket() if policy.accepts_ticket and "ticket" in request.args else _authenticate()
    except Unauthorized:
        rate_limits.check(limit)  # limits the guessing of tokens by address
        raise
    is_person = not current_caller().claims.machine
    key = cache.identity_key(current_caller().sub) if is_person else None
    cached = rate_limits.check(limit, caller=current_caller().sub, cached_key=key)
    if key:
        # Writes are counted on the queue Redis, which has no cached account, so that needs a second round trip.
        needs_separate_read = limit.server is not cache_redis
        current_caller().use_cached_account(_cached_account(key) if needs_separate_read else cache.parse(cached))
        current_caller().reject_if_known_blocked()
    if current_caller().claims.machine and not policy.machines:
        raise MachineTokenNotAllowed
    for permission in policy.permissions:
        if permission not in current_caller().permissions:
            raise InsufficientPermission(permission)
    if policy.permissions and is_person:
        current_caller().account.require_current_token(current_caller().claims.issued_at)
    if policy.permissions:
        g.actor, g.is_recorded_read = current_caller().actor, policy.reads_personal_data


def _authenticate() -> Caller:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise TokenMissing
    return Caller(tokens.verify_token(token.strip()))


def _redeem_ticket() -> Caller:
    """Return the holder of the ticket in the query, without permissions. Raises TokenInvalid, Unavailable."""
    holder = stream_tickets.redeem(request.args["ticket"])
    if holder is None:
        raise TokenInvalid("the ticket was used, has expired or is not known")
    return Caller(tokens.Claims.from_ticket(holder))


def _cached_account(key: str) -> CachedView | None:
    try:
        return cache.get(key)
    except RedisError:
        return None  # the users service is asked instead


def _get_account(caller: Caller) -> AccountState:
    if stored := _cached_account(cache.identity_key(caller.sub)):
        return AccountState.decode(stored.body)
    identity = call_without_idempotency_key(
        GetOrCreateUser(sub=caller.sub, roles=caller.claims.roles, **caller.identity)
    )
    return AccountState.decode(identity["account"].encode())
