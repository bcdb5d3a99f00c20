"""Account erasure.

USER_DELETED asks every service to erase its data. The erasure is complete when all have published USER_DATA_ERASED.
"""

from typing import Any
from uuid import UUID

import msgspec
from redis.exceptions import RedisError
from sqlalchemy.orm import Session

import settings
from core import cache
from core.bus.operations import Operation
from core.bus.outbox import record
from core.cache import CachedView, identity_key, profile_key
from core.db import utc_now
from models.commands import PushIdentityChange
from models.errors import NotFound, Unavailable
from models.events import RetainedData, UserDataErased, UserDeleted
from models.notification_inbox import publish_new_notifications
from models.personal_data import ERASURE, clear_account_identifier, erase_personal_data
from models.users import CertificateHolder, ErasedSub, Erasure, Export, IdentityChange, User
from settings import SERVICES
from workers import job, task
from workers.runtime.dependencies import CacheAfterCommit, EnqueueAfterCommit

RETAINED_RECEIPT = RetainedData(
    description="the receipt, with the id of the account and a hash of its id at the identity provider",
    reason="proof of the erasure; prevents tokens and messages in transit from creating the account again",
)


@task
def erase_own_account(
    session: Session,
    cache_after_commit: CacheAfterCommit,
    enqueue_after_commit: EnqueueAfterCommit,
    *,
    sub: str,
    expected_version: int,
) -> dict[str, Any]:
    """Start the erasure of the caller's account; return its operation. Idempotent.

    Raises NotFound, PreconditionFailed.
    """
    user = User.get_by_sub_for_update(session, sub)
    if user is None:
        known = Erasure.find_latest(session, sub)
        if known is None:
            raise NotFound("user", "of this token")
        return Operation.get(session, known.id, owner=sub).to_response()
    user.require_version(expected_version)
    return start_erasure(session, cache_after_commit, enqueue_after_commit, user, owner=sub).to_response()


@task
def erase_user(
    session: Session,
    cache_after_commit: CacheAfterCommit,
    enqueue_after_commit: EnqueueAfterCommit,
    *,
    user_id: UUID,
    expected_version: int,
    owner: str,
) -> dict[str, Any]:
    """Start the erasure of a user on behalf of an administrator; return the operation, which belongs to ``owner``.

    Raises NotFound, PreconditionFailed.
    """
    user = User.get_for_update(session, user_id)
    user.require_version(expected_version)
    return start_erasure(session, cache_after_commit, enqueue_after_commit, user, owner=owner).to_response()


def start_erasure(
    session: Session,
    cache_after_commit: CacheAfterCommit,
    enqueue_after_commit: EnqueueAfterCommit,
    user: User,
    *,
    owner: str,
    in_auth0: bool = True,
) -> Operation:
    """Start the erasure of ``user``, whose row must be locked; return the operation.

    The profile is erased by this transaction, other data when the services process USER_DELETED. ``in_auth0`` also
    deletes the account in Auth0.
    """
    at, sub = utc_now(), user.sub
    operation = Operation.start_async(kind=ERASURE, owner=owner, at=at)
    session.add(operation)
    asked = list(SERVICES)
    IdentityChange.delete(session, user.id, "roles")
    if in_auth0 and settings.AUTH0_SYNC_ENABLED:
        asked.append("auth0")
        change_id = IdentityChange.request(session, user.id, "erase", sub=sub, roles=[], at=at)
        enqueue_after_commit(PushIdentityChange(change_id=change_id))
    session.add(Erasure.create(id=operation.id, user_id=user.id, sub=sub, services=asked, at=at))
    ErasedSub.upsert(session, sub, at=at)
    CertificateHolder.erase(session, user.id)
    record(session, user, user.erase(operation.id, at=at))
    cache_after_commit(profile_key(user.id), CachedView(user.version, b""))
    cache_after_commit(identity_key(sub), CachedView(user.account_version, b""))
    return operation


@task
def erase_data(session: Session, *, event: UserDeleted) -> None:
    """Erase this service's data other than the profile. Raises Unavailable if the cache does not respond."""
    user = session.get_one(User, event.user_id, with_for_update=True)
    _clear_cache(event, user.account_version)
    exports = Export.erase(session, event.user_id)
    erase_personal_data(session, "users", event, rows=1 + exports, retained=[RETAINED_RECEIPT], aggregate=user)


@task
def record_service_erasure(session: Session, *, event: UserDataErased) -> None:
    """Add a service's result to the receipt; the last one completes the operation."""
    erasure = Erasure.get_for_update(session, event.user_id)
    if erasure.record_service_result(event.service, rows=event.rows, kept=event.retained, at=event.erased_at):
        finish_erasure(session, erasure)


@job
def prune_erased_subs(session: Session) -> None:
    """Delete the hashed subs of erased accounts whose tokens have all expired."""
    ErasedSub.prune(session, at=utc_now())


def finish_erasure(session: Session, erasure: Erasure) -> None:
    """Complete the operation with the receipt as its result. Call it when all services have answered."""
    Operation.record_attempt_result(
        session, erasure.id, {"result": msgspec.to_builtins(erasure.to_response())}, at=utc_now()
    )
    clear_account_identifier(session, erasure.user_id)


def _clear_cache(event: UserDeleted, account_version: int) -> None:
    """Clear the cached profile and account again: the command's own write to the cache may have been lost.

    An empty body with this version replaces every older cache entry.
    """
    try:
        cache.put(profile_key(event.user_id), CachedView(cache.ERASED_VERSION, b""))
        if event.pii.sub:
            cache.put(identity_key(event.pii.sub), CachedView(account_version, b""))
        publish_new_notifications([event.user_id])  # makes open event streams check the account and close
    except RedisError as error:
        raise Unavailable("The cache") from error
