"""Whom to write to, and the order in which it is told of them."""

from datetime import datetime
from typing import Self
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import Sequence, delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.base import Aggregate, Base
from models.errors import ProjectionBehind
from models.events import Person

_NEVER_REACHED = 2**62
_FEED_POSITION = Sequence("feed_position", schema="notifications")


class Contact(Base):
    """Whom to write to, where, and in which language, as the users service told it."""

    __tablename__ = "contacts"
    __table_args__ = ({"schema": "notifications"},)

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    version: Mapped[int]  # of the profile that this was taken from
    email: Mapped[str | None]
    email_verified: Mapped[bool] = mapped_column(server_default="false")
    name: Mapped[str | None]
    locale: Mapped[str]
    timezone: Mapped[str]
    erased_at: Mapped[datetime | None]  # nobody is told anything any more

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    @classmethod
    def keep(cls, session: Session, user_id: UUID, *, version: int, pii: Person) -> None:
        """Take over a profile, unless a newer one is here."""
        told = insert(cls).values(
            user_id=user_id,
            version=version,
            email=pii.email,
            email_verified=pii.email_verified,
            name=pii.name,
            locale=pii.locale,
            timezone=pii.timezone,
        )
        fields = {
            name: told.excluded[name] for name in ("version", "email", "email_verified", "name", "locale", "timezone")
        }
        session.execute(
            told.on_conflict_do_update(
                index_elements=["user_id"], set_=fields, where=cls.version < told.excluded.version
            )
        )

    @classmethod
    def erase(cls, session: Session, user_id: UUID, *, at: datetime) -> None:
        """Forget the person for good: no profile that is still on its way is newer than this."""
        nobody = {
            "user_id": user_id,
            "version": _NEVER_REACHED,
            "email": None,
            "email_verified": False,
            "name": None,
            "locale": "en",
            "timezone": "UTC",
            "erased_at": at,
        }
        gone = insert(cls).values(nobody).on_conflict_do_update(index_elements=["user_id"], set_=nobody)
        session.execute(gone)

    @classmethod
    def forget(cls, session: Session, user_id: str) -> None:
        """Take the contact of a user away, for a rebuild."""
        session.execute(delete(cls).where(cls.user_id == UUID(user_id)))

    @classmethod
    def of(cls, session: Session, user_id: UUID) -> Self:
        """The contact of a user, locked: who is told two things is told them one by one, and not erased meanwhile.

        Raises ProjectionBehind before USER_CREATED has come.
        """
        contact = session.get(cls, user_id, with_for_update=True)
        if contact is None:
            raise ProjectionBehind("contact of user", str(user_id))
        return contact


class Recipient(Aggregate, Base):
    """The order in which deliveries to a user are told. Not part of Contact, which may be built anew from events."""

    __tablename__ = "recipients"
    __table_args__ = ({"schema": "notifications"},)

    user_id: Mapped[UUID] = mapped_column(primary_key=True)

    @property
    def aggregate_id(self) -> str:
        return str(self.user_id)

    @classmethod
    def locked(cls, session: Session, user_id: UUID) -> Self:
        """The recipient, made by the first delivery that ends."""
        session.execute(insert(cls).values(user_id=user_id, version=0).on_conflict_do_nothing())
        return session.get_one(cls, user_id, with_for_update=True)


def next_position(session: Session) -> int:
    """The place of a user's next note in the feed, for whoever has their contact locked.

    Under that lock a note is written before a later one is numbered, so who has seen a position has seen all before it.
    """
    return session.scalar(_FEED_POSITION.next_value()) or 0
