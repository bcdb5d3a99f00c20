"""Push pending changes to Auth0: roles and account deletions. Retried until Auth0 accepts them."""

import time
from uuid import UUID

from sqlalchemy.orm import Session

from core.cache import identity_key
from core.db import utc_now
from core.log import get_logger
from models.commands import PushIdentityChange
from models.errors import Unavailable
from models.users import Erasure, IdentityChange, User
from workers import job, task
from workers.runtime.dependencies import CacheAfterCommit, EnqueueAfterCommit
from workers.runtime.execution import Transactions

from .auth0_client import Auth0
from .erasures import finish_erasure

log = get_logger(__name__)

BATCH_SIZE = 50  # below Auth0's burst


@task
def push_identity_change(
    transactions: Transactions, auth0: Auth0, cache_after_commit: CacheAfterCommit, *, change_id: UUID
) -> None:
    """Push one pending change to Auth0. No effect if it is done or replaced by a newer change."""
    push_change(transactions, auth0, cache_after_commit, change_id)


@job
def sweep_identity_changes(session: Session, enqueue_after_commit: EnqueueAfterCommit) -> None:
    """Enqueue pending changes whose task was lost, whose worker died or which Auth0 did not accept."""
    for change in IdentityChange.due(session, at=utc_now(), limit=BATCH_SIZE):
        change.lease(at=utc_now())
        enqueue_after_commit(PushIdentityChange(change_id=change.id))


def push_change(
    transactions: Transactions, auth0: Auth0, cache_after_commit: CacheAfterCommit, change_id: UUID
) -> None:
    """Push one pending change to Auth0; on failure it is rescheduled. Do not call it in an open transaction."""
    with transactions.begin() as session:
        change = session.get(IdentityChange, change_id)
    if change is None:
        return
    try:
        if change.kind == "erase":
            auth0.delete_user(change.sub)
        else:
            auth0.set_roles(change.sub, change.roles)
    except Unavailable as error:
        log.warning("push to Auth0 failed", change_id=change_id, kind=change.kind, reason=str(error))
        with transactions.begin() as session:
            if known := session.get(IdentityChange, change_id, with_for_update=True):
                known.schedule_retry(str(error), at=utc_now(), seconds=error.retry_after_seconds)
        return
    with transactions.begin() as session:
        # Lock in the same order as set_roles, user before change: otherwise the two can deadlock.
        user = session.get(User, change.user_id, with_for_update=True)
        known = session.get(IdentityChange, change_id, with_for_update=True)
        if known is None:
            _requeue(session, cache_after_commit, change, user)
            return
        session.delete(known)
        if change.kind == "erase":
            erasure = Erasure.get_for_update(session, change.user_id)
            if erasure.record_service_result("auth0", rows=1, kept=[], at=utc_now()):
                finish_erasure(session, erasure)
        elif user and not user.erased_at:
            user.accept_tokens_from(next_second())
            cache_after_commit(identity_key(user.sub), user.account_cache_entry())
    log.info("pushed to Auth0", change_id=change_id, kind=change.kind)


def next_second() -> int:
    """Return the next full second as a Unix timestamp."""
    return int(time.time()) + 1


def _requeue(
    session: Session, cache_after_commit: CacheAfterCommit, superseded: IdentityChange, user: User | None
) -> None:
    """Create the change again if a newer one was pushed during this push: the order at Auth0 is unknown."""
    if superseded.kind == "roles" and user and not user.erased_at:
        IdentityChange.request(session, user.id, "roles", sub=user.sub, roles=user.roles, at=utc_now())
        user.reject_tokens()
        cache_after_commit(identity_key(user.sub), user.account_cache_entry())
