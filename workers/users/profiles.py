"""Profiles: created with the user's first token, filled by USER_CREATED, changed by the user."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from core.bus.outbox import record
from core.cache import CachedView, identity_key, profile_key
from core.db import utc_now
from models.commands.users import ProfileChanges
from models.events import Person, UserCreated, UserUpdated
from models.users import ErasedSub, User
from workers import task
from workers.runtime.dependencies import CacheAfterCommit


@task
def get_or_create_user(
    session: Session,
    cache_after_commit: CacheAfterCommit,
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
    user = User.insert_once(session, sub, at=utc_now(), roles=sorted(roles))
    ErasedSub.require_not_erased(session, sub)  # after ``reserve``, which waits for a concurrent erasure to commit
    if user:
        record(session, user, user.created_event(Person(email=email, name=name, email_verified=email_verified)))
    user = user or User.get_by_sub(session, sub)
    cache_after_commit(identity_key(sub), user.account_cache_entry())
    return {"user_id": user.id, "account": user.account.encode().decode()}


@task
def show_instructor(session: Session, *, user_id: UUID) -> dict[str, Any]:
    """Return the public profile of an instructor. Raises NotFound, also for users who do not teach."""
    return User.get(session, user_id).to_instructor_response()


@task
def initialize_profile(session: Session, cache_after_commit: CacheAfterCommit, *, event: UserCreated) -> None:
    """Fill the profile of a new user and cache it."""
    user = session.get_one(User, event.user_id, with_for_update=True)
    if updated := user.initialize_profile(event.pii, at=utc_now()):
        record(session, user, updated)
        cache_after_commit(profile_key(user.id), CachedView.from_view(user.to_response()))


@task
def refresh_profile_cache(session: Session, cache_after_commit: CacheAfterCommit, *, event: UserUpdated) -> None:
    """Cache the changed profile and account again: the command's own write to the cache may have been lost."""
    user = session.get_one(User, event.user_id)
    if not user.erased_at:
        cache_after_commit(profile_key(user.id), CachedView.from_view(user.to_response()))
        cache_after_commit(identity_key(user.sub), user.account_cache_entry())


@task
def show_profile(
    session: Session, *, user_id: UUID, email: str | None, name: str | None, email_verified: bool = False
) -> dict[str, Any]:
    """Return a user's profile. Until it is filled, it shows the name and e-mail claims of the token."""
    user = User.get(session, user_id)
    claimed = {"email": email, "name": name, "email_verified": email_verified}
    return user.to_response() if user.initialized_at else {**user.to_response(), **claimed}


@task
def confirm_email(
    session: Session, cache_after_commit: CacheAfterCommit, *, user_id: UUID, email: str
) -> dict[str, Any]:
    """Mark ``email`` as verified, as stated by a token. No effect if the profile has another address.

    For tenants whose event stream does not report verification. Raises NotFound.
    """
    user = User.get_for_update(session, user_id)
    if updated := user.confirm_email(email, at=utc_now()):
        record(session, user, updated)
        cache_after_commit(profile_key(user.id), CachedView.from_view(user.to_response()))
    return user.to_response()


@task
def change_profile(
    session: Session,
    cache_after_commit: CacheAfterCommit,
    *,
    user_id: UUID,
    expected_version: int,
    changes: ProfileChanges,
) -> dict[str, Any]:
    """Change a user's profile. Raises NotFound, PreconditionFailed, ProjectionNotReady."""
    user = User.get_for_update(session, user_id)
    if updated := user.change(changes, expected_version=expected_version, at=utc_now()):
        record(session, user, updated)
        cache_after_commit(profile_key(user.id), CachedView.from_view(user.to_response()))
    return user.to_response()
