"""Events published by the users service."""

from dataclasses import dataclass
from uuid import UUID

from core.events import AwareDatetime, Event


@dataclass(frozen=True, kw_only=True)
class Person:
    """Personal data of a user, from the identity provider."""

    email: str | None
    name: str | None
    locale: str = "en"
    timezone: str = "UTC"
    email_verified: bool = False  # whether the identity provider has verified the address


@dataclass(frozen=True, kw_only=True)
class UserCreated(Event, topic="users", retained_forever=True):
    """A user signed in for the first time."""

    user_id: UUID
    sub: str  # Auth0's id of the user
    pii: Person
    created_at: AwareDatetime


@dataclass(frozen=True, kw_only=True)
class UserUpdated(Event, topic="users", retained_forever=True):
    """A profile was initialised or changed. The payload is the whole profile."""

    user_id: UUID
    version: int  # of the profile, starting at 1; ignore the event if a greater version is stored
    pii: Person
    updated_at: AwareDatetime


@dataclass(frozen=True, kw_only=True)
class Account:
    """The identifier of an erased account; None after all services have erased their data."""

    sub: str | None


@dataclass(frozen=True, kw_only=True)
class UserDeleted(Event, topic="users", retained_forever=True):
    """A user must be erased: every service erases its data and then publishes USER_DATA_ERASED."""

    user_id: UUID
    erasure_id: UUID
    pii: Account
    deleted_at: AwareDatetime


@dataclass(frozen=True, kw_only=True)
class UserExportRequested(Event, topic="users"):
    """A user requested a data export: every service prepares its part and publishes USER_DATA_EXPORTED."""

    user_id: UUID
    export_id: UUID
    requested_at: AwareDatetime
