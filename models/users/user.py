"""User profiles: one row per Auth0 user, created at the first request, initialised by the handler of USER_CREATED."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from sqlalchemy import ColumnElement, bindparam, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.cache import CachedView
from core.db import PRIVATE, Aggregate, Base, PrivateText, new_id
from models.accounts import NO_TOKEN_YET, AccountState
from models.commands.users import ProfileChanges
from models.errors import NotFound, PreconditionFailed, ProjectionNotReady
from models.events import Account, Person, UserCreated, UserDeleted, UserUpdated

_TEACHERS = {"instructor", "admin"}  # the roles of users whose profiles are public


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Data of a user from Auth0, and the time of the change; None means not provided."""

    email: str | None
    name: str | None
    email_verified: bool | None
    blocked: bool | None
    at: datetime


@dataclass(frozen=True, kw_only=True)
class UserFilters:
    """Filters of the list of users; None and an empty ``q`` do not filter. Upper and lower case are the same."""

    q: str = ""  # words that the e-mail address and name contain
    role: str | None = None
    email: str | None = None
    email_prefix: str | None = None


class User(Aggregate, Base):
    """A user's profile. ``initialized_at`` is None until the handler of USER_CREATED has initialised it.

    The row of an erased user stays, without personal data, because it orders the user's events.
    """

    __tablename__ = "users"
    __table_args__ = ({"schema": "users"},)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    sub: Mapped[str] = mapped_column(unique=True, info=PRIVATE)  # Auth0's id of the user
    email: Mapped[PrivateText | None]
    email_verified: Mapped[bool] = mapped_column(server_default="false")
    name: Mapped[PrivateText | None]
    locale: Mapped[str]
    timezone: Mapped[str]
    avatar_url: Mapped[PrivateText | None]
    bio: Mapped[PrivateText | None]  # Markdown; public for instructors
    roles: Mapped[list[str]]
    search: Mapped[PrivateText]  # e-mail address and name, normalised by ``normalize_for_search``
    # The last name from Auth0; only a different one replaces the user's choice.
    identity_name: Mapped[PrivateText | None]
    identity_at: Mapped[datetime | None]  # time of the last applied change from Auth0; older ones are ignored
    created_at: Mapped[datetime]
    initialized_at: Mapped[datetime | None]
    erased_at: Mapped[datetime | None]
    blocked_at: Mapped[datetime | None]  # in Auth0
    tokens_valid_from: Mapped[int] = mapped_column(server_default="0")  # see models.accounts.AccountState
    account_version: Mapped[int] = mapped_column(server_default="1")  # version of ``account`` in the cache

    @classmethod
    def insert_once(cls, session: Session, sub: str, *, at: datetime, roles: Sequence[str] = ()) -> "User | None":
        """Insert and return the user of a new ``sub``; return None if there is one already.

        A concurrent call for the same ``sub`` waits here until this transaction has ended.
        """
        row = {
            "id": new_id(),
            "sub": sub,
            "version": 0,
            "locale": "en",
            "timezone": "UTC",
            "roles": list(roles),
            "search": "",
            "created_at": at,
        }
        is_new = session.connection().scalar(_INSERT_ONCE, row) is not None
        return cls.get_by_sub(session, sub) if is_new else None

    @classmethod
    def get_by_sub(cls, session: Session, sub: str) -> "User":
        """Return the user of a ``sub`` that exists, without a lock."""
        return session.scalars(_BY_SUB, {"wanted": sub}).one()

    @classmethod
    def get_by_sub_for_update(cls, session: Session, sub: str) -> Self | None:
        """Return the user with this ``sub``, locked; None if there is none or the user was erased."""
        return session.scalars(select(cls).where(cls.sub == sub).with_for_update()).one_or_none()

    @classmethod
    def get(cls, session: Session, user_id: UUID) -> Self:
        """Return a user without a lock. Raises NotFound, also for an erased user."""
        return cls._require_found(session.get(cls, user_id), user_id)

    @classmethod
    def get_for_update(cls, session: Session, user_id: UUID) -> Self:
        """Return a user, locked. Raises NotFound, also for an erased user."""
        return cls._require_found(session.get(cls, user_id, with_for_update=True, populate_existing=True), user_id)

    @classmethod
    def get_all_for_update(cls, session: Session, *user_ids: UUID) -> dict[UUID, Self]:
        """Lock users in the order of their ids, so that two commands on the same users cannot deadlock."""
        users = select(cls).where(cls.id.in_(user_ids)).order_by(cls.id).with_for_update()
        return {user.id: user for user in session.scalars(users.execution_options(populate_existing=True))}

    @classmethod
    def _require_found(cls, user: Self | None, user_id: UUID) -> Self:
        if user is None or user.erased_at:
            raise NotFound("user", str(user_id))
        return user

    @classmethod
    def list_page(cls, session: Session, filters: UserFilters, *, limit: int, after: UUID | None) -> list[Self]:
        """Return up to ``limit`` users that match, newest first."""
        users = select(cls).where(*cls._conditions(filters)).order_by(cls.id.desc()).limit(limit)
        return list(session.scalars(users.where(cls.id < after) if after else users))

    @classmethod
    def count(cls, session: Session, filters: UserFilters) -> int:
        """Return the total number of users that match."""
        return session.scalars(select(func.count()).select_from(cls).where(*cls._conditions(filters))).one()

    @classmethod
    def list_by_ids(cls, session: Session, user_ids: Sequence[UUID]) -> list[Self]:
        """Return the users with these ids that are not erased, in no order."""
        return list(session.scalars(select(cls).where(cls.id.in_(user_ids), cls.erased_at.is_(None))))

    @classmethod
    def _conditions(cls, filters: UserFilters) -> list[ColumnElement[bool]]:
        conditions: list[ColumnElement[bool]] = [cls.erased_at.is_(None)]
        conditions += [cls.search.contains(word, autoescape=True) for word in normalize_for_search(filters.q).split()]
        if filters.role:
            conditions.append(cls.roles.contains([filters.role]))
        if filters.email:
            conditions.append(func.lower(cls.email) == filters.email.lower())
        if filters.email_prefix:
            conditions.append(func.lower(cls.email).startswith(filters.email_prefix.lower(), autoescape=True))
        return conditions

    def created_event(self, pii: Person) -> UserCreated:
        return UserCreated(user_id=self.id, sub=self.sub, pii=pii, created_at=self.created_at)

    def initialize_profile(self, pii: Person, *, at: datetime) -> UserUpdated | None:
        """Initialise the profile from USER_CREATED; return None if it is initialised already or the user was erased."""
        if self.initialized_at or self.erased_at:
            return None
        self.email, self.name, self.email_verified = pii.email, pii.name, pii.email_verified
        self.locale, self.timezone = pii.locale, pii.timezone
        self.identity_name = pii.name
        self.initialized_at = at
        return self._updated_event(at)

    def apply_identity(self, identity: Identity, *, at: datetime) -> UserUpdated | None:
        """Apply a change from Auth0; return None if it is outdated or changes nothing.

        Auth0 owns the e-mail address. The user's own name is kept until Auth0 sends a different one than before.
        """
        if self.knows_newer_than(identity):
            return None
        self.identity_at = identity.at
        before = (self.email, self.name, self.email_verified)
        self._apply_email(identity)
        if identity.name and identity.name != self.identity_name:
            self.name = self.identity_name = identity.name
        if before == (self.email, self.name, self.email_verified) and self.initialized_at:
            return None
        self.initialized_at = self.initialized_at or at
        return self._updated_event(at)

    def knows_newer_than(self, identity: Identity) -> bool:
        """Return whether a change as new as ``identity``, or newer, was applied before."""
        return self.identity_at is not None and identity.at <= self.identity_at

    def _apply_email(self, identity: Identity) -> None:
        """Apply the address and its verification; a new address is unverified unless Auth0 says otherwise."""
        if identity.email and identity.email != self.email:
            self.email, self.email_verified = identity.email, False
        if identity.email_verified is not None:
            self.email_verified = identity.email_verified

    def confirm_email(self, email: str, *, at: datetime) -> UserUpdated | None:
        """Mark ``email`` as verified; return None if it is not the user's address, or verified already."""
        if self.email != email or self.email_verified or not self.initialized_at:
            return None
        self.email_verified = True
        return self._updated_event(at)

    def change(self, changes: ProfileChanges, *, expected_version: int, at: datetime) -> UserUpdated | None:
        """Apply ``changes`` if the profile has the expected version; return None if they change nothing.

        Raises PreconditionFailed for another version, ProjectionNotReady if the profile is not initialised yet.
        """
        self.require_version(expected_version)
        different = {field: value for field, value in changes.items() if getattr(self, field) != value}
        if not different:
            return None
        for field, value in different.items():
            setattr(self, field, value)
        return self._updated_event(at)

    def set_roles(self, roles: list[str], *, expected_version: int, at: datetime) -> UserUpdated | None:
        """Replace the roles; return None if they are unchanged. Raises the errors of ``change``."""
        self.require_version(expected_version)
        if self.roles == roles:
            return None
        self.roles = roles
        return self._updated_event(at)

    def require_version(self, version: int) -> None:
        """Raise PreconditionFailed for another version, ProjectionNotReady if the profile is not initialised yet."""
        if self.version != version:
            raise PreconditionFailed("profile", str(self.version))
        if not self.initialized_at:
            raise ProjectionNotReady("profile of user", str(self.id))

    def erase(self, erasure_id: UUID, *, at: datetime) -> UserDeleted:
        """Remove the personal data and return USER_DELETED. The row stays, because it orders later events."""
        event = UserDeleted(user_id=self.id, erasure_id=erasure_id, pii=Account(sub=self.sub), deleted_at=at)
        self.sub = f"erased|{self.id}"
        self.email = self.name = self.avatar_url = self.bio = self.identity_name = self.identity_at = None
        self.locale, self.timezone, self.roles, self.search = "en", "UTC", [], ""
        self.erased_at, self.blocked_at, self.email_verified = at, None, False
        self.reject_tokens()
        return event

    @property
    def account(self) -> AccountState:
        """Return the account state that the gateway checks."""
        blocked = self.blocked_at is not None
        return AccountState(user_id=self.id, tokens_valid_from=self.tokens_valid_from, blocked=blocked)

    def account_cache_entry(self) -> CachedView:
        """Return the cache entry of the account, for ``identity_key(sub)``."""
        return CachedView(self.account_version, self.account.encode())

    def reject_tokens(self) -> None:
        """Reject the permissions of all tokens until ``accept_tokens_from`` is called."""
        self._change_account(NO_TOKEN_YET)

    def accept_tokens_from(self, second: int) -> None:
        """Accept the permissions of tokens issued at ``second`` (Unix time) or later."""
        self._change_account(second)

    def set_blocked(self, *, blocked: bool | None, at: datetime) -> bool:
        """Block or unblock the account; return whether that changed it. None changes nothing."""
        if blocked is None or blocked == (self.blocked_at is not None):
            return False
        self.blocked_at = at if blocked else None
        self.account_version += 1
        return True

    def _change_account(self, tokens_valid_from: int) -> None:
        self.tokens_valid_from = tokens_valid_from
        self.account_version += 1

    def to_response(self) -> dict[str, Any]:
        """Return the response of GET /v1/me."""
        return {
            "id": self.id,
            "email": self.email,
            "email_verified": self.email_verified,
            "name": self.name,
            "locale": self.locale,
            "timezone": self.timezone,
            "avatar_url": self.avatar_url,
            "bio": self.bio,
            "roles": self.roles,
            "created_at": self.created_at,
            "version": self.version,
        }

    def to_instructor_response(self) -> dict[str, Any]:
        """Return the public profile. Raises NotFound for users who do not teach.

        Identity providers use the e-mail address as the name of users who gave none; it is not published.
        """
        if not _TEACHERS & set(self.roles):
            raise NotFound("instructor", str(self.id))
        name = None if "@" in (self.name or "") else self.name
        return {"id": self.id, "name": name, "avatar_url": self.avatar_url, "bio": self.bio}

    def _updated_event(self, at: datetime) -> UserUpdated:
        self.search = normalize_for_search(f"{self.email or ''} {self.name or ''}")
        return UserUpdated(
            user_id=self.id,
            version=self.version + 1,  # the version after this event is recorded
            pii=Person(
                email=self.email,
                name=self.name,
                locale=self.locale,
                timezone=self.timezone,
                email_verified=self.email_verified,
            ),
            updated_at=at,
        )


# Built once: building a statement takes longer than executing it. An insert that returns a loaded User takes three
# times as long as an insert and a select.
_INSERT_ONCE = insert(User).on_conflict_do_nothing(index_elements=["sub"]).returning(User.id)
_BY_SUB = select(User).where(User.sub == bindparam("wanted"))


def normalize_for_search(text: str) -> str:
    """Return ``text`` without case and accents, with non-ASCII letters as ``x<hex>``.

    pg_trgm indexes ASCII in every locale, other letters only in some.
    """
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(
        letter if letter.isascii() else f"x{ord(letter):x}" for letter in plain if not unicodedata.combining(letter)
    )
