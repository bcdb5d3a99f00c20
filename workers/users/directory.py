"""User administration: list users and set roles."""

import time
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

import settings
from core.bus.outbox import record
from core.cache import CachedView, identity_key, profile_key
from core.db import utc_now
from models.errors import AccountErased, NotFound, SelfRoleChange
from models.users import IdentityChange, User, UserFilters
from workers import task
from workers.runtime.dependencies import CacheAfterCommit, RecordPeople
from workers.runtime.execution import Transactions

from .auth0_client import Auth0
from .auth0_sync import next_second, push_change


@task
def list_users(
    session: Session,
    record_people: RecordPeople,
    *,
    q: str,
    role: str | None,
    limit: int,
    after: UUID | None,
    total: bool,
    email: str | None = None,
    email_prefix: str | None = None,
) -> dict[str, Any]:
    """Return a page of users, newest first: {"items", "next", "total"}. ``total`` is None unless requested."""
    filters = UserFilters(q=q, role=role, email=email, email_prefix=email_prefix)
    found = User.list_page(session, filters, limit=limit + 1, after=after)
    shown = found[:limit]
    record_people(user.id for user in shown)
    return {
        "items": [user.to_response() for user in shown],
        "next": shown[-1].id if len(found) > limit else None,
        "total": User.count(session, filters) if total else None,
    }


@task
def list_names(session: Session, *, user_ids: list[UUID]) -> list[dict[str, Any]]:
    """Return name and e-mail address of users: {"id", "name", "email"}. Erased and unknown users are left out."""
    return [{"id": user.id, "name": user.name, "email": user.email} for user in User.list_by_ids(session, user_ids)]


@task
def set_roles(
    transactions: Transactions,
    auth0: Auth0,
    cache_after_commit: CacheAfterCommit,
    *,
    user_id: UUID,
    expected_version: int,
    roles: list[str],
    actor: UUID,
    actor_token_issued_at: float,
) -> dict[str, Any]:
    """Replace a user's roles and push them to Auth0; if Auth0 does not respond, a job retries the push.

    The permissions in the user's current tokens are rejected from the commit on. So are those of new tokens until Auth0
    has the new roles, because until then Auth0 may issue tokens with the old ones. ``actor`` is the admin, whose
    account is checked again under a lock: its rights may have been withdrawn since the gateway checked the request.

    Raises SelfRoleChange, AccountErased, AccountBlocked, TokenOutdated, NotFound, PreconditionFailed,
    ProjectionNotReady.
    """
    if actor == user_id:
        raise SelfRoleChange
    change_id: UUID | None = None
    with transactions.begin() as session:
        user = _authorized_target(session, user_id, actor, actor_token_issued_at)
        event = user.set_roles(sorted(set(roles)), expected_version=expected_version, at=utc_now())
        if event is None:
            return user.to_response()
        record(session, user, event)
        if settings.AUTH0_SYNC_ENABLED:
            change_id = IdentityChange.request(session, user_id, "roles", sub=user.sub, roles=user.roles, at=utc_now())
            user.reject_tokens()
        else:
            user.accept_tokens_from(next_second())
        cache_after_commit(profile_key(user.id), CachedView.from_view(user.to_response()))
        cache_after_commit(identity_key(user.sub), user.account_cache_entry())
    if change_id:
        push_change(transactions, auth0, cache_after_commit, change_id)
    # ``iat`` of a token has a resolution of one second. Wait for the next second, so that a token issued after this
    # reply is not rejected as an older one.
    time.sleep(next_second() - time.time())
    return user.to_response()


def _authorized_target(session: Session, user_id: UUID, actor: UUID, actor_token_issued_at: float) -> User:
    """Lock the target user and the administrator, check the administrator's token and return the target user."""
    users = User.get_all_for_update(session, user_id, actor)
    admin, user = users.get(actor), users.get(user_id)
    if admin is None or admin.erased_at:
        raise AccountErased
    admin.account.require_current_token(actor_token_issued_at)
    if user is None or user.erased_at:
        raise NotFound("user", str(user_id))
    return user
