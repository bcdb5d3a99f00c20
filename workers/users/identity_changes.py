"""Push pending changes to Auth0: roles and account deletions. Retried until Auth0 accepts them."""

import time
from uuid import UUID

from sqlalchemy.orm import Session

from models.base import now
from models.cache import identity_key
from models.errors import Unavailable
from models.log import get_logger
from models.users import Erasure, IdentityChange, User
from workers import job, task
from workers._delivery import Sessions
from workers.resources import Poke, Remember

from .erasures import close
from .management import Auth0

log = get_logger(__name__)

WISHES_A_RUN = 50  # below Auth0's burst


@task
def push_identity_change(sessions: Sessions, auth0: Auth0, remember: Remember, *, change_id: UUID) -> None:
    """Push one pending change to Auth0. No effect if it is done or replaced by a newer change."""
    tell_auth0(sessions, auth0, remember, change_id)


@job(every_seconds=15)
def sweep_identity_changes(session: Session, poke: Poke) -> None:
    """Enqueue pending changes whose task was lost, whose worker died or which Auth0 did not accept."""
    for change in IdentityChange.due(session, at=now(), limit=WISHES_A_RUN):
        change.lease(at=now())
        poke("users.push_identity_change", change_id=change.id)


def tell_auth0(sessions: Sessions, auth0: Auth0, remember: Remember, change_id: UUID) -> None:
    """Push one pending change to Auth0; on failure it is rescheduled. Do not call it in an open transaction."""
    with sessions.begin() as session:
        change = session.get(IdentityChange, change_id)
    if change is None:
        return
    try:
        if change.kind == "erase":
            auth0.delete_user(change.sub)
        else:
            auth0.set_roles(change.sub, change.roles)
    except Unavailable as error:
        log.warning("Auth0 not told", change_id=change_id, kind=change.kind, reason=str(error))
        with sessions.begin() as session:
            if known := session.get(IdentityChange, change_id, with_for_update=True):
                known.put_off(str(error), at=now(), seconds=error.retry_after_seconds)
        return
    with sessions.begin() as session:
        # Lock in the same order as set_roles, user before change: otherwise the two can deadlock.
        user = session.get(User, change.user_id, with_for_update=True)
        known = session.get(IdentityChange, change_id, with_for_update=True)
        if known is None:
            _wish_again(session, remember, change, user)
            return
        session.delete(known)
        if change.kind == "erase":
            erasure = Erasure.of(session, change.user_id)
            if erasure.answer("auth0", rows=1, kept=[], at=now()):
                close(session, erasure)
        elif user and not user.erased_at:
            user.accept_tokens_from(next_second())
            remember(identity_key(user.sub), user.stored_account())
    log.info("Auth0 told", change_id=change_id, kind=change.kind)


def next_second() -> int:
    """Return the next full second as a Unix timestamp."""
    return int(time.time()) + 1


def _wish_again(session: Session, remember: Remember, overtaken: IdentityChange, user: User | None) -> None:
    """Create the change again if a newer one was pushed during this push: the order at Auth0 is unknown."""
    if overtaken.kind == "roles" and user and not user.erased_at:
        IdentityChange.want(session, user.id, "roles", sub=user.sub, roles=user.roles, at=now())
        user.hold_tokens()
        remember(identity_key(user.sub), user.stored_account())
