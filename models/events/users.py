"""What the users service tells."""

from dataclasses import dataclass
from uuid import UUID

from .event import Event, Moment


@dataclass(frozen=True, kw_only=True)
class Person:
    """Personal data of a user, as the identity provider gave it."""

    email: str | None
    name: str | None
    locale: str = "en"
    timezone: str = "UTC"
    email_verified: bool = False  # whether the identity provider has confirmed that the address is the person's


@dataclass(frozen=True, kw_only=True)
class UserCreated(Event, topic="users", kept_for_good=True):
    """A ``sub`` never seen before signed in."""

    user_id: UUID
    sub: str  # Auth0's name for the user
    pii: Person
    created_at: Moment


@dataclass(frozen=True, kw_only=True)
class UserUpdated(Event, topic="users", kept_for_good=True):
    """A profile was filled or changed; the payload is the whole of it."""

    user_id: UUID
    version: int  # of the profile, which is born with version 1: what is kept of a greater one is newer
    pii: Person
    updated_at: Moment


@dataclass(frozen=True, kw_only=True)
class Account:
    """By what a person's account was known; None when everybody has done with it."""

    sub: str | None


@dataclass(frozen=True, kw_only=True)
class UserDeleted(Event, topic="users", kept_for_good=True):
    """A person is to be forgotten: every service erases what it has and answers with USER_DATA_ERASED."""

    user_id: UUID
    erasure_id: UUID
    pii: Account
    deleted_at: Moment


@dataclass(frozen=True, kw_only=True)
class UserExportRequested(Event, topic="users"):
    """A person wants all that is kept of them: every service lays out its part and tells USER_DATA_EXPORTED."""

    user_id: UUID
    export_id: UUID
    requested_at: Moment
