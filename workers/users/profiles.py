"""Profiles: created with the user's first token, filled by USER_CREATED, changed by the user."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from models.base import now
from models.cache import Stored, identity_key, profile_key
from models.events import Person, UserCreated, UserUpdated
from models.outbox import record
from models.users import ErasedSub, ProfileChanges, User
from workers import task
from workers.resources import Remember


@task
def identify(
    session: Session,
    remember: Remember,
    *,
    sub: str,
    email: str | None,
    name: str | None,
    email_verified: bool = False,
    roles: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the user of Auth0's ``sub``: {"user_id", "account"}. Creates an unknown user and publishes USER_CREATED.

    "account" is in the format of the cache (models/accounts.py). ``roles`` are the roles in the token; they are used
    only for a new user and later change by ``set_roles``.

    Raises AccountErased if the token is still valid but its account is erased.
    """
    user = User.reserve(session, sub, at=now(), roles=sorted(roles))
    ErasedSub.refuse(session, sub)  # after ``reserve``, which waits for a concurrent erasure to commit
    if user:
        record(session, user, user.created(Person(email=email, name=name, email_verified=email_verified)))
    user = user or User.get_by_sub(session, sub)
    remember(identity_key(sub), user.stored_account())
    return {"user_id": user.id, "account": user.account.encode().decode()}


@task
def fill_profile(session: Session, remember: Remember, *, event: UserCreated) -> None:
    """Fill the profile of a new user and cache it."""
    user = session.get_one(User, event.user_id, with_for_update=True)
    if news := user.fill(event.pii, at=now()):
        record(session, user, news)
        remember(profile_key(user.id), Stored.of(user.view()))


@task
def cache_profile(session: Session, remember: Remember, *, event: UserUpdated) -> None:
    """Cache the changed profile and account again: the command's own write to the cache may have been lost."""
    user = session.get_one(User, event.user_id)
    if not user.erased_at:
        remember(profile_key(user.id), Stored.of(user.view()))
        remember(identity_key(user.sub), user.stored_account())


@task
def show_profile(
    session: Session, *, user_id: UUID, email: str | None, name: str | None, email_verified: bool = False
) -> dict[str, Any]:
    """Return a user's profile. Until it is filled, it shows the name and e-mail claims of the token."""
    user = User.of(session, user_id)
    claimed = {"email": email, "name": name, "email_verified": email_verified}
    return user.view() if user.filled_at else {**user.view(), **claimed}


@task
def confirm_email(session: Session, remember: Remember, *, user_id: UUID, email: str) -> dict[str, Any]:
    """Mark ``email`` as verified, as stated by a token. No effect if the profile has another address.

    For tenants whose event stream does not report verification. Raises NotFound.
    """
    user = User.locked(session, user_id)
    if news := user.confirm_email(email, at=now()):
        record(session, user, news)
        remember(profile_key(user.id), Stored.of(user.view()))
    return user.view()


@task
def change_profile(
    session: Session, remember: Remember, *, user_id: UUID, expected_version: int, changes: ProfileChanges
) -> dict[str, Any]:
    """Change a user's profile. Raises NotFound, PreconditionFailed, ProjectionBehind."""
    user = User.locked(session, user_id)
    if news := user.change(changes, expected_version=expected_version, at=now()):
        record(session, user, news)
        remember(profile_key(user.id), Stored.of(user.view()))
    return user.view()
