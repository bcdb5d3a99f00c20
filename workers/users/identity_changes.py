"""What Auth0 is to be told: roles, and that an account is gone. No transaction is open; it is repeated until done."""

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
    """Tell Auth0 one thing; done before, or overtaken by a newer wish, it is nothing."""
    tell_auth0(sessions, auth0, remember, change_id)


@job(every_seconds=15)
def sweep_identity_changes(session: Session, poke: Poke) -> None:
    """Start what a lost poke, a killed worker or Auth0 itself has left behind."""
    for change in IdentityChange.due(session, at=now(), limit=WISHES_A_RUN):
        change.lease(at=now())
        poke("users.push_identity_change", change_id=change.id)


def tell_auth0(sessions: Sessions, auth0: Auth0, remember: Remember, change_id: UUID) -> None:
    """Tell Auth0 what was wished; where it does not take it now, the job repeats it. No transaction may be open."""
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
        # In the order of set_roles: first the user, then the change.
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
    """Return the second after the present one, since 1970."""
    return int(time.time()) + 1


def _wish_again(session: Session, remember: Remember, overtaken: IdentityChange, user: User | None) -> None:
    """A newer wish was told while we told this one: which came last nobody knows, so it is told once more."""
    if overtaken.kind == "roles" and user and not user.erased_at:
        IdentityChange.want(session, user.id, "roles", sub=user.sub, roles=user.roles, at=now())
        user.hold_tokens()
        remember(identity_key(user.sub), user.stored_account())
