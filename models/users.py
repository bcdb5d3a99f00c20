"""Users: one row a person that Auth0 vouches for, reserved by the first token, filled by its event."""

from datetime import datetime
from typing import Any, Self, TypedDict
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from .base import Aggregate, Base, new_id
from .errors import NotFound, PreconditionFailed, ProjectionBehind
from .events import Person, UserCreated, UserUpdated


class ProfileChanges(TypedDict, total=False):
    """What a user may change of the own profile; what is left out stays as it is."""

    name: str
    locale: str
    timezone: str
    avatar_url: str | None


class User(Aggregate, Base):
    """A user's profile. ``filled_at`` is None from the first token until the handler of USER_CREATED has run."""

    __tablename__ = "users"
    __table_args__ = ({"schema": "users"},)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    sub: Mapped[str] = mapped_column(unique=True)  # Auth0's name for the user
    email: Mapped[str | None]
    name: Mapped[str | None]
    locale: Mapped[str]
    timezone: Mapped[str]
    avatar_url: Mapped[str | None]
    roles: Mapped[list[str]]
    created_at: Mapped[datetime]
    filled_at: Mapped[datetime | None]

    @classmethod
    def reserve(cls, session: Session, sub: str, *, at: datetime) -> Self | None:
        """The new row of a ``sub`` never seen before; None where it has one.

        A concurrent twin waits here for our commit.
        """
        row = insert(cls).values(id=new_id(), sub=sub, version=0, locale="en", timezone="UTC", roles=[], created_at=at)
        return session.scalars(row.on_conflict_do_nothing(index_elements=["sub"]).returning(cls)).one_or_none()

    @classmethod
    def id_of(cls, session: Session, sub: str) -> UUID:
        """The id of a ``sub`` that has been reserved."""
        return session.scalars(select(cls.id).where(cls.sub == sub)).one()

    @classmethod
    def of(cls, session: Session, user_id: UUID) -> Self:
        """A user, read only. Raises NotFound."""
        return cls._found(session.get(cls, user_id), user_id)

    @classmethod
    def locked(cls, session: Session, user_id: UUID) -> Self:
        """A user, to be changed. Raises NotFound."""
        return cls._found(session.get(cls, user_id, with_for_update=True), user_id)

    @classmethod
    def _found(cls, user: Self | None, user_id: UUID) -> Self:
        if user is None:
            raise NotFound("user", str(user_id))
        return user

    def created(self, pii: Person) -> UserCreated:
        return UserCreated(user_id=self.id, sub=self.sub, pii=pii, created_at=self.created_at)

    def fill(self, pii: Person, *, at: datetime) -> UserUpdated | None:
        """Take over what the identity provider said; None when that was done before."""
        if self.filled_at:
            return None
        self.email, self.name = pii.email, pii.name
        self.locale, self.timezone = pii.locale, pii.timezone
        self.filled_at = at
        return self._updated(at)

    def change(self, changes: ProfileChanges, *, expected_version: int, at: datetime) -> UserUpdated | None:
        """Apply ``changes`` to the version that the user has seen; None when they change nothing.

        Raises PreconditionFailed where the profile has moved on, ProjectionBehind while it is not filled.
        """
        if self.version != expected_version:
            raise PreconditionFailed("profile", str(self.version))
        if not self.filled_at:
            raise ProjectionBehind("profile of user", str(self.id))
        different = {field: value for field, value in changes.items() if getattr(self, field) != value}
        if not different:
            return None
        for field, value in different.items():
            setattr(self, field, value)
        return self._updated(at)

    def view(self) -> dict[str, Any]:
        """As GET /v1/me shows it."""
        return {
            "id": self.id,
            "email": self.email,
            "name": self.name,
            "locale": self.locale,
            "timezone": self.timezone,
            "avatar_url": self.avatar_url,
            "roles": self.roles,
            "created_at": self.created_at,
            "version": self.version,
        }

    def _updated(self, at: datetime) -> UserUpdated:
        return UserUpdated(
            user_id=self.id,
            version=self.version + 1,  # the one that recording this event makes
            pii=Person(email=self.email, name=self.name, locale=self.locale, timezone=self.timezone),
            updated_at=at,
        )
