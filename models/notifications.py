"""Notifications: what is known of the people to write to (PostgreSQL), and what was told to them (MongoDB)."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Self
from uuid import UUID, uuid5

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from .base import Aggregate, Base
from .errors import ProjectionBehind
from .events import NotificationFailed, NotificationSent, Person

_NEVER_REACHED = 2**62


class Contact(Base):
    """Whom to write to, where, and in which language, as the users service told it."""

    __tablename__ = "contacts"
    __table_args__ = ({"schema": "notifications"},)

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    version: Mapped[int]  # of the profile that this was taken from
    email: Mapped[str | None]
    name: Mapped[str | None]
    locale: Mapped[str]
    timezone: Mapped[str]
    erased_at: Mapped[datetime | None]  # nobody is told anything any more

    @classmethod
    def keep(cls, session: Session, user_id: UUID, *, version: int, pii: Person) -> None:
        """Take over a profile, unless a newer one is here."""
        told = insert(cls).values(
            user_id=user_id,
            version=version,
            email=pii.email,
            name=pii.name,
            locale=pii.locale,
            timezone=pii.timezone,
        )
        fields = {name: told.excluded[name] for name in ("version", "email", "name", "locale", "timezone")}
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
        """The contact of a user, not to be erased meanwhile. Raises ProjectionBehind before USER_CREATED has come."""
        contact = session.get(cls, user_id, with_for_update={"read": True})
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


class EndedDelivery(Base):
    """A delivery whose end was told. Who finds it here sends nothing again, whatever MongoDB says."""

    __tablename__ = "ended_deliveries"
    __table_args__ = ({"schema": "notifications"},)

    delivery_id: Mapped[UUID] = mapped_column(primary_key=True)
    state: Mapped[str]  # sent or failed
    reason: Mapped[str | None]
    ended_at: Mapped[datetime]

    def first(self, session: Session) -> bool:
        """Write the end down; False when it was told before. A concurrent twin waits here for our commit."""
        row = {
            "delivery_id": self.delivery_id,
            "state": self.state,
            "reason": self.reason,
            "ended_at": self.ended_at,
        }
        written = insert(EndedDelivery).values(**row).on_conflict_do_nothing().returning(EndedDelivery.delivery_id)
        return session.execute(written).first() is not None


class State(StrEnum):
    """Where a delivery stands."""

    QUEUED = "queued"  # to be sent at due_at
    SENDING = "sending"  # somebody tries; given up for dead at due_at
    SENT = "sent"  # the provider took it
    FAILED = "failed"  # not taken, and not tried again; reason says why
    SKIPPED = "skipped"  # never tried; reason says why


@dataclass(frozen=True, kw_only=True)
class Notice:
    """What is to be told to whom, before it is split by channels."""

    event_id: UUID
    user_id: UUID
    category: str
    template: str
    mandatory: bool  # goes out whatever the user prefers
    data: dict[str, Any]  # what the template tells of
    created_at: datetime

    def id_on(self, channel: str) -> UUID:
        """The same event, told to the same person by the same channel, however often the event is delivered."""
        return uuid5(self.event_id, f"{self.user_id}/{channel}")


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One notification on its way to one person by one channel other than the feed.

    It holds no address: that is looked up when it is sent.
    """

    id: UUID
    user_id: UUID
    category: str
    channel: str
    template: str
    data: dict[str, Any]
    created_at: datetime
    attempts: int

    def ended(self, state: State, reason: str | None, at: datetime) -> NotificationSent | NotificationFailed:
        """The news of its end: SENT, or FAILED for ``reason``."""
        if state is State.SENT:
            return NotificationSent(
                notification_id=self.id, user_id=self.user_id, category=self.category, channel=self.channel, sent_at=at
            )
        return NotificationFailed(
            notification_id=self.id,
            user_id=self.user_id,
            category=self.category,
            channel=self.channel,
            reason=reason or "unknown",
            failed_at=at,
        )
