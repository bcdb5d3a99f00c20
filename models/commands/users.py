"""Commands of the users service."""

from collections.abc import Sequence
from typing import TypedDict
from uuid import UUID

from core.commands import Command


class ProfileChanges(TypedDict, total=False):
    """Fields of a profile that can be changed; omitted fields keep their value."""

    name: str
    locale: str
    timezone: str
    avatar_url: str | None
    bio: str | None


class PushIdentityChange(Command, service="users"):
    """Push one pending change to Auth0."""

    change_id: UUID


class ReceiveAuth0Webhook(Command, service="users"):
    """Apply the entries of an Auth0 webhook."""

    body: bytes
    authorization: str


class ListUsers(Command, service="users"):
    """Return a page of users, newest first."""

    q: str
    role: str | None
    limit: int
    after: UUID | None
    total: bool
    email: str | None = None
    email_prefix: str | None = None


class ListNames(Command, service="users"):
    """Return name and e-mail address of users: a list of {"id", "name", "email"}."""

    user_ids: list[UUID]


class SetRoles(Command, service="users"):
    """Replace a user's roles and push them to Auth0."""

    user_id: UUID
    expected_version: int
    roles: list[str]
    actor: UUID
    actor_token_issued_at: float


class EraseOwnAccount(Command, service="users"):
    """Start the erasure of the caller's account."""

    sub: str
    expected_version: int


class EraseUser(Command, service="users"):
    """Start the erasure of a user on behalf of an administrator."""

    user_id: UUID
    expected_version: int
    owner: str


class RequestExport(Command, service="users"):
    """Start an export of a user's data."""

    user_id: UUID
    owner: str


class ShowExport(Command, service="users"):
    """Return a user's last finished export, from which the gateway collects the parts."""

    user_id: UUID


class ChangeProfile(Command, service="users"):
    """Change a user's profile."""

    user_id: UUID
    expected_version: int
    changes: ProfileChanges


class ConfirmEmail(Command, service="users"):
    """Mark ``email`` as verified, as stated by a token."""

    user_id: UUID
    email: str


class GetOrCreateUser(Command, service="users"):
    """Return the user of Auth0's ``sub``; an unknown user is created."""

    sub: str
    email: str | None
    name: str | None
    email_verified: bool = False
    roles: Sequence[str] = ()


class ShowProfile(Command, service="users"):
    """Return a user's profile."""

    user_id: UUID
    email: str | None
    name: str | None
    email_verified: bool = False


class ShowInstructor(Command, service="users"):
    """Return the public profile of an instructor."""

    user_id: UUID


class ShowCertificateHolder(Command, service="users"):
    """Return the name on a certificate."""

    user_id: UUID
    code: str


class CorrectCertificateHolder(Command, service="users"):
    """Replace the name on a certificate on behalf of an administrator."""

    user_id: UUID
    code: str
    holder: str
