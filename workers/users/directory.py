"""The directory: all users, for those who look after them, and who has which role."""

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
    """A page of users, newest first: {"items", "next", "total"}, the last one where it is asked for."""
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
    """Give a user these roles and no others; Auth0 is told at once, or by the job as soon as it answers.

    Permissions of the user's present tokens end with the commit, and no token is accepted for them before Auth0 has
    the new roles: until then it may issue tokens with the old ones. ``actor`` is the administrator who asks; whoever
    has lost that power since the gateway admitted the request is refused here, under a lock.

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
    # Tokens state the second in which they were issued: one issued after this answer must not count as an older one.
    time.sleep(next_second() - time.time())
    return user.view()


def _authorized_target(session: Session, user_id: UUID, actor: UUID, actor_token_issued_at: float) -> User:
    """Lock the user whose roles change and the administrator who asks; return the former."""
    users = User.get_all_for_update(session, user_id, actor)
    admin, user = users.get(actor), users.get(user_id)
    if admin is None or admin.erased_at:
        raise AccountErased
    admin.account.refuse_outdated(actor_token_issued_at)
    if user is None or user.erased_at:
        raise NotFound("user", str(user_id))
    return user
