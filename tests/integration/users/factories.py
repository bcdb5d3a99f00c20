"""Factories of users with defaults."""

from uuid import UUID, uuid4

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.bus.outbox import OutboxEvent
from core.cache import CachedView
from core.db import session_factory, utc_now
from models.events import Person, UserCreated
from models.users import User
from workers.users.profiles import get_or_create_user, initialize_profile


class CachedEntries(dict):
    """Fake of the cache: records the calls of ``cache_after_commit(key, stored)``."""

    def __call__(self, key: str, stored: CachedView) -> None:
        self[key] = stored


def make_person(**pii) -> Person:
    return Person(**{"email": "ann@example.com", "email_verified": True, "name": "Ann", **pii})


def make_sub() -> str:
    return f"auth0|{uuid4().hex}"


def make_new_user(session: Session, sub: str | None = None) -> User:
    """Create a user whose profile is not stored yet."""
    identity = get_or_create_user(session, CachedEntries(), sub=sub or make_sub(), email="ann@example.com", name="Ann")
    return session.get_one(User, identity["user_id"])


def make_user(session: Session, **pii) -> User:
    """Create a user with a profile; its version is 2."""
    user = make_new_user(session)
    initialize_profile(session, CachedEntries(), event=creation_of(user, **pii))
    return user


def make_admin() -> UUID:
    """Create a committed user who may change roles; returns the id."""
    with session_factory("users").begin() as session:
        return make_user(session, name="Admin").id


def creation_of(user: User, **pii) -> UserCreated:
    return UserCreated(user_id=user.id, sub=user.sub, pii=make_person(**pii), created_at=utc_now())


def published_events(session: Session, key: object) -> list[tuple[str, int]]:
    """Return type and version of the events of an aggregate, oldest first."""
    session.flush()
    rows = select(OutboxEvent).where(OutboxEvent.aggregateid == str(key)).order_by(OutboxEvent.seq)
    return [(row.type, row.aggregate_version) for row in session.scalars(rows)]
