"""User administration: list users and set roles."""

import time
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

import settings
from models.base import now
from models.cache import Stored, identity_key, profile_key
from models.errors import AccountErased, NotFound, OwnRoles
from models.outbox import record
from models.users import IdentityChange, User
from workers import task
from workers._delivery import Sessions
from workers.resources import Remember

from .identity_changes import next_second, tell_auth0
from .management import Auth0


@task
def list_users(
    session: Session, *, q: str, role: str | None, limit: int, after: UUID | None, total: bool
) -> dict[str, Any]:
    """Return a page of users, newest first: {"items", "next", "total"}. ``total`` is None unless requested."""
    found = User.page(session, q=q, role=role, limit=limit + 1, after=after)
    shown = found[:limit]
    return {
        "items": [user.view() for user in shown],
        "next": shown[-1].id if len(found) > limit else None,
        "total": User.count(session, q=q, role=role) if total else None,
    }


@task
def set_roles(
    sessions: Sessions,
    auth0: Auth0,
    remember: Remember,
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

    Raises OwnRoles, AccountErased, AccountBlocked, TokenOutdated, NotFound, PreconditionFailed, ProjectionBehind.
    """
    if actor == user_id:
        raise OwnRoles
    wish: UUID | None = None
    with sessions.begin() as session:
        user = _authorized_target(session, user_id, actor, actor_token_issued_at)
        news = user.take_roles(sorted(set(roles)), expected_version=expected_version, at=now())
        if news is None:
            return user.view()
        record(session, user, news)
        if settings.AUTH0_MANAGED:
            wish = IdentityChange.want(session, user_id, "roles", sub=user.sub, roles=user.roles, at=now())
            user.hold_tokens()
        else:
            user.accept_tokens_from(next_second())
        remember(profile_key(user.id), Stored.of(user.view()))
        remember(identity_key(user.sub), user.stored_account())
    if wish:
        tell_auth0(sessions, auth0, remember, wish)
    # ``iat`` of a token has a resolution of one second. Wait for the next second, so that a token issued after this
    # reply is not rejected as an older one.
    time.sleep(next_second() - time.time())
    return user.view()


def _authorized_target(session: Session, user_id: UUID, actor: UUID, actor_token_issued_at: float) -> User:
    """Lock the target user and the administrator, check the administrator's token and return the target user."""
    users = User.get_all_for_update(session, user_id, actor)
    admin, user = users.get(actor), users.get(user_id)
    if admin is None or admin.erased_at:
        raise AccountErased
    admin.account.refuse_outdated(actor_token_issued_at)
    if user is None or user.erased_at:
        raise NotFound("user", str(user_id))
    return user
