"""Contact data of users, and the aggregate that orders the events about their notifications."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Self
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import Uuid, bindparam, delete, func, select
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.bus.outbox import record
from core.db import Aggregate, Base, PrivateText
from models.errors import ProjectionNotReady
from models.events import Event, Person

from .deliveries import DeliveryResult

_MAX_VERSION = 2**62
# By the driver: SQLAlchemy need not compile them.
_INSERT_RESULT = """
    WITH inserted AS (
        INSERT INTO notifications.delivery_results (delivery_id, state, reason, ended_at)
        VALUES (%(delivery)s, %(state)s, %(reason)s, %(ended_at)s)
        ON CONFLICT DO NOTHING
        RETURNING delivery_id)
    INSERT INTO notifications.notification_sequences AS known (user_id, version)
    SELECT CAST(%(user)s AS uuid), 1 FROM inserted
    ON CONFLICT (user_id) DO UPDATE SET version = known.version + 1
    RETURNING version
"""
_NEXT_INBOX_POSITIONS = "SELECT nextval('notifications.inbox_position') FROM generate_series(1, %(count)s)"


class Contact(Base):
    """A user's address, locale and time zone: a projection of the users service's events."""

    __tablename__ = "contacts"
    __table_args__ = ({"schema": "notifications"},)

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    version: Mapped[int]  # of the profile
    email: Mapped[PrivateText | None]
    email_verified: Mapped[bool] = mapped_column(server_default="false")
    name: Mapped[PrivateText | None]
    locale: Mapped[str]
    timezone: Mapped[str]
    erased_at: Mapped[datetime | None]  # the user gets no notifications any more

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    @classmethod
    def upsert(cls, session: Session, user_id: UUID, *, version: int, pii: Person) -> None:
        """Insert or update a contact, unless a newer version of the profile is stored."""
        row = insert(cls).values(
            user_id=user_id,
            version=version,
            email=pii.email,
            email_verified=pii.email_verified,
            name=pii.name,
            locale=pii.locale,
            timezone=pii.timezone,
        )
        fields = {
            name: row.excluded[name] for name in ("version", "email", "email_verified", "name", "locale", "timezone")
        }
        session.execute(
            row.on_conflict_do_update(index_elements=["user_id"], set_=fields, where=cls.version < row.excluded.version)
        )

    @classmethod
    def erase(cls, session: Session, user_id: UUID, *, at: datetime) -> None:
        """Erase the contact. Its version is set so high that a late profile event cannot restore it."""
        erased = {
            "user_id": user_id,
            "version": _MAX_VERSION,
            "email": None,
            "email_verified": False,
            "name": None,
            "locale": "en",
            "timezone": "UTC",
            "erased_at": at,
        }
        upsert = insert(cls).values(erased).on_conflict_do_update(index_elements=["user_id"], set_=erased)
        session.execute(upsert)

    @classmethod
    def clear(cls, session: Session, user_id: str) -> None:
        """Delete the contact of a user, for a rebuild of the projection."""
        session.execute(delete(cls).where(cls.user_id == UUID(user_id)))

    @classmethod
    def get_for_update(cls, session: Session, user_id: UUID) -> "Contact":
        """Return the contact of a user, locked.

        The lock serialises notifications to the user, and an erasure waits for it. Raises ProjectionNotReady if
        USER_CREATED has not arrived.
        """
        return cls.list_for_update(session, {user_id})[user_id]

    @classmethod
    def list_for_update(cls, session: Session, user_ids: Collection[UUID]) -> "dict[UUID, Contact]":
        """Return the contacts of users by user id, locked in the order of the ids. Raises ProjectionNotReady."""
        found = {contact.user_id: contact for contact in session.scalars(_FOR_UPDATE, {"users": list(user_ids)})}
        for user_id in user_ids:
            if user_id not in found:
                raise ProjectionNotReady("contact of user", str(user_id))
        return found


# Built once: building a statement takes longer than executing it.
_FOR_UPDATE = (
    select(Contact)
    .where(Contact.user_id == func.any(bindparam("users", type_=ARRAY(Uuid))))
    .order_by(Contact.user_id)
    .with_for_update()
    .execution_options(populate_existing=True)
)


class NotificationSequence(Aggregate, Base):
    """The aggregate of the events about a user's deliveries. Apart from Contact, which can be rebuilt from events."""

    __tablename__ = "notification_sequences"
    __table_args__ = ({"schema": "notifications"},)

    user_id: Mapped[UUID] = mapped_column(primary_key=True)

    @property
    def aggregate_id(self) -> str:
        return str(self.user_id)

    @classmethod
    def get_or_create_for_update(cls, session: Session, user_id: UUID) -> Self:
        """Return the recipient, locked; created if it does not exist."""
        session.execute(insert(cls).values(user_id=user_id, version=0).on_conflict_do_nothing())
        return session.get_one(cls, user_id, with_for_update=True)

    @classmethod
    def record_result(cls, session: Session, user_id: UUID, result: DeliveryResult, event: Event) -> None:
        """Insert ``result`` and record ``event`` about it, unless the delivery has a result already.

        One statement inserts the result, creates or locks the row of the user and increments its version. A concurrent
        call for the same delivery waits here until this transaction has ended.
        """
        values = {
            "delivery": str(result.delivery_id),
            "state": result.state,
            "reason": result.reason,
            "ended_at": result.ended_at,
            "user": str(user_id),
        }
        version = session.connection().exec_driver_sql(_INSERT_RESULT, values).scalar()
        if version is not None:
            record(session, cls(user_id=user_id, version=version - 1), event)


def next_inbox_positions(session: Session, count: int) -> Sequence[int]:
    """Return the positions of the next in-app notifications, ascending. Lock the contacts of their users first.

    Under that lock a notification is stored before the next position is assigned. A reader that has seen a position has
    therefore seen all earlier ones.
    """
    return session.connection().exec_driver_sql(_NEXT_INBOX_POSITIONS, {"count": count}).scalars().all()
