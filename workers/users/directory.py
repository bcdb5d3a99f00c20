"""The directory: all users, for those who look after them, and who has which role."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

import settings
from models.base import now
from models.cache import Stored, profile_key
from models.outbox import record
from models.users import IdentityChange, User
from workers import task
from workers._delivery import Sessions
from workers.resources import Remember

from .identity_changes import tell_auth0
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
    sessions: Sessions, auth0: Auth0, remember: Remember, *, user_id: UUID, expected_version: int, roles: list[str]
) -> dict[str, Any]:
    """Give a user these roles and no others; Auth0 is told at once, or by the job as soon as it answers.

    Raises NotFound, PreconditionFailed, ProjectionBehind.
    """
    wish: UUID | None = None
    with sessions.begin() as session:
        user = User.locked(session, user_id)
        if news := user.take_roles(sorted(set(roles)), expected_version=expected_version, at=now()):
            record(session, user, news)
            remember(profile_key(user.id), Stored.of(user.view()))
            if settings.AUTH0_MANAGED:
                wish = IdentityChange.want(session, user_id, "roles", sub=user.sub, roles=user.roles, at=now())
    if wish:
        tell_auth0(sessions, auth0, wish)
    return user.view()
