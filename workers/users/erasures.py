"""Account erasure.

USER_DELETED asks every service to erase its data. The erasure is complete when all have published USER_DATA_ERASED.
"""

from typing import Any
from uuid import UUID

import msgspec
from redis.exceptions import RedisError
from sqlalchemy.orm import Session

import settings
from models import cache
from models.base import now
from models.cache import Stored, identity_key, profile_key
from models.errors import NotFound, Unavailable
from models.events import KeptData, UserDataErased, UserDeleted
from models.feed import announce
from models.operations import Operation
from models.outbox import record
from models.personal import ERASURE, forget, forget_account
from models.users import ErasedSub, Erasure, Export, IdentityChange, User
from settings import SERVICES
from workers import job, task
from workers.resources import Poke, Remember

RECEIPT_KEPT = KeptData(
    what="the receipt, with the id of the account and a hash of its name at the identity provider",
    why="to prove the erasure, and so that tokens and messages still under way do not bring the account back",
)


@task
def erase_me(session: Session, remember: Remember, poke: Poke, *, sub: str, expected_version: int) -> dict[str, Any]:
    """Start the erasure of the caller's account; return its operation. Idempotent.

    Raises NotFound, PreconditionFailed.
    """
    user = User.named(session, sub)
    if user is None:
        known = Erasure.last_of(session, sub)
        if known is None:
            raise NotFound("user", "of this token")
        return Operation.of(session, known.id, owner=sub).view()
    user.expect(expected_version)
    return begin(session, remember, poke, user, owner=sub).view()


@task
def erase_user(
    session: Session, remember: Remember, poke: Poke, *, user_id: UUID, expected_version: int, owner: str
) -> dict[str, Any]:
    """Start the erasure of a user on behalf of an administrator; return the operation, which belongs to ``owner``.

    Raises NotFound, PreconditionFailed.
    """
    user = User.locked(session, user_id)
    user.expect(expected_version)
    return begin(session, remember, poke, user, owner=owner).view()


def begin(
    session: Session, remember: Remember, poke: Poke, user: User, *, owner: str, in_auth0: bool = True
) -> Operation:
    """Start the erasure of ``user``, whose row must be locked; return the operation.

    The profile is erased by this transaction, other data when the services process USER_DELETED. ``in_auth0`` also
    deletes the account in Auth0.
    """
    at, sub = now(), user.sub
    operation = Operation.under_way(kind=ERASURE, owner=owner, at=at)
    session.add(operation)
    asked = list(SERVICES)
    IdentityChange.forget(session, user.id, "roles")
    if in_auth0 and settings.AUTH0_MANAGED:
        asked.append("auth0")
        wish = IdentityChange.want(session, user.id, "erase", sub=sub, roles=[], at=at)
        poke("users.push_identity_change", change_id=wish)
    session.add(Erasure.begin(id=operation.id, user_id=user.id, sub=sub, asked=asked, at=at))
    ErasedSub.keep(session, sub, at=at)
    record(session, user, user.erase(operation.id, at=at))
    remember(profile_key(user.id), Stored(user.version, b""))
    remember(identity_key(sub), Stored(user.account_version, b""))
    return operation


@task
def erase_data(session: Session, *, event: UserDeleted) -> None:
    """Erase this service's data other than the profile. Raises Unavailable if the cache does not respond."""
    user = session.get_one(User, event.user_id, with_for_update=True)
    _clear_cache(event, user.account_version)
    exports = Export.forget(session, event.user_id)
    forget(session, "users", event, rows=1 + exports, kept=[RECEIPT_KEPT], told_of=user)


@task
def gather_receipt(session: Session, *, event: UserDataErased) -> None:
    """Add a service's result to the receipt; the last one completes the operation."""
    erasure = Erasure.of(session, event.user_id)
    if erasure.answer(event.service, rows=event.rows, kept=event.kept, at=event.erased_at):
        close(session, erasure)


@job(every_seconds=3600)
def prune_erased_subs(session: Session) -> None:
    """Delete the hashed subs of erased accounts whose tokens have all expired."""
    ErasedSub.prune(session, at=now())


def close(session: Session, erasure: Erasure) -> None:
    """Complete the operation with the receipt as its result. Call it when all services have answered."""
    Operation.end(session, erasure.id, {"result": msgspec.to_builtins(erasure.view())}, at=now())
    forget_account(session, erasure.user_id)


def _clear_cache(event: UserDeleted, account_version: int) -> None:
    """Clear the cached profile and account again: the command's own write to the cache may have been lost.

    An empty body with this version replaces every older cache entry.
    """
    try:
        cache.put(profile_key(event.user_id), Stored(cache.ERASED, b""))
        if event.pii.sub:
            cache.put(identity_key(event.pii.sub), Stored(account_version, b""))
        announce(event.user_id)  # makes open event streams check the account and close
    except RedisError as error:
        raise Unavailable("The cache") from error
