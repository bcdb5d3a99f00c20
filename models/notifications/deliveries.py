"""A notification on its way, and its end."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from models.base import Base
from models.events import NotificationFailed, NotificationSent


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

    @classmethod
    def forget(cls, session: Session, delivery_id: UUID) -> None:
        """Let a delivery that has ended be sent, and its end be told, once more."""
        session.execute(delete(cls).where(cls.delivery_id == delivery_id))


class State(StrEnum):
    """Where a delivery stands."""

    QUEUED = "queued"  # to be sent at due_at
    HELD = "held"  # until due_at, when the quiet hours of the user are over
    SENDING = "sending"  # somebody tries; given up for dead at due_at
    SENT = "sent"  # the provider took it
    DELIVERED = "delivered"  # it lies in the feed, or the provider has seen it arrive
    FAILED = "failed"  # not taken, and not tried again; reason says why
    SKIPPED = "skipped"  # never tried; reason says why
    SUPPRESSED = "suppressed"  # never tried: the address is one that must not be written to
    BOUNCED = "bounced"  # taken, and then sent back
    COMPLAINED = "complained"  # called spam by its reader


@dataclass(frozen=True)
class Outcome:
    """What became of an attempt to send, and why; a delivery that stays open is taken up again at ``due_at``."""

    state: State
    reason: str | None = None
    due_at: datetime | None = None


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
    mandatory: bool
    data: dict[str, Any]
    created_at: datetime
    attempts: int
    cause: dict[str, str] = field(default_factory=dict)  # ``bound_cause`` where it was queued
    listed_as: str = ""  # the place in the history: rises with time
    reached: list[str] = field(default_factory=list)  # the devices that have it already

    def ended(self, outcome: Outcome, at: datetime) -> NotificationSent | NotificationFailed:
        """The news of its end: SENT, or FAILED for a reason."""
        if outcome.state is State.SENT:
            return NotificationSent(
                notification_id=self.id, user_id=self.user_id, category=self.category, channel=self.channel, sent_at=at
            )
        return NotificationFailed(
            notification_id=self.id,
            user_id=self.user_id,
            category=self.category,
            channel=self.channel,
            reason=outcome.reason or "unknown",
            failed_at=at,
        )
