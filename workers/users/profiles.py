"""Profiles: reserved by the first token, filled by its event, changed by their users."""

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
    """Our id of Auth0's ``sub``: {"user_id", "account"}. One never seen before becomes a user, told once.

    "account" is the text that the cache stores (models/accounts.py). ``roles`` are those that the token names; later
    they change through ``set_roles``.

    Raises AccountErased for one whose tokens have outlived the account.
    """
    user = User.reserve(session, sub, at=now(), roles=sorted(roles))
    ErasedSub.refuse(session, sub)  # only now: an erasure that was under way has been waited for above
    if user:
        record(session, user, user.created(Person(email=email, name=name, email_verified=email_verified)))
    user = user or User.get_by_sub(session, sub)
    remember(identity_key(sub), user.stored_account())
    return {"user_id": user.id, "account": user.account.encode().decode()}


@task
def fill_profile(session: Session, remember: Remember, *, event: UserCreated) -> None:
    """Save the profile of a new user, and cache it."""
    user = session.get_one(User, event.user_id, with_for_update=True)
    if news := user.fill(event.pii, at=now()):
        record(session, user, news)
        remember(profile_key(user.id), Stored.of(user.view()))


@task
def cache_profile(session: Session, remember: Remember, *, event: UserUpdated) -> None:
    """Cache the changed profile and account again: what the command itself had put there may be lost."""
    user = session.get_one(User, event.user_id)
    if not user.erased_at:
        remember(profile_key(user.id), Stored.of(user.view()))
        remember(identity_key(user.sub), user.stored_account())


@task
def show_profile(
    session: Session, *, user_id: UUID, email: str | None, name: str | None, email_verified: bool = False
) -> dict[str, Any]:
    """A user's profile; while it is not filled, with what the token claims of the person."""
    user = User.of(session, user_id)
    claimed = {"email": email, "name": name, "email_verified": email_verified}
    return user.view() if user.filled_at else {**user.view(), **claimed}


@task
def confirm_email(session: Session, remember: Remember, *, user_id: UUID, email: str) -> dict[str, Any]:
    """Take over that ``email`` is verified, as a token states; nothing changes where the profile has another address.

    For tenants whose event stream does not tell. Raises NotFound.
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
