"""Deliveries of notifications by a channel, their states and their results."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import delete
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base
from core.log import correlation_ids
from models.events import NotificationFailed, NotificationSent


class DeliveryResult(Base):
    """The published result of a delivery, which is then not sent again, whatever its state in MongoDB."""

    __tablename__ = "delivery_results"
    __table_args__ = ({"schema": "notifications"},)

    delivery_id: Mapped[UUID] = mapped_column(primary_key=True)
    state: Mapped[str]  # sent or failed
    reason: Mapped[str | None]
    ended_at: Mapped[datetime]

    @classmethod
    def delete(cls, session: Session, delivery_id: UUID) -> None:
        """Delete the result, so that the delivery can be sent again and a new result be published."""
        session.execute(delete(cls).where(cls.delivery_id == delivery_id))


class DeliveryState(StrEnum):
    """The state of a delivery."""

    QUEUED = "queued"  # to be sent at due_at
    HELD = "held"  # until due_at, the end of the user's quiet hours
    SENDING = "sending"  # leased by a worker until due_at
    SENT = "sent"  # accepted by the provider
    DELIVERED = "delivered"  # stored in the in-app inbox, or reported as delivered by the provider
    FAILED = "failed"  # not accepted, and not retried; see reason
    SKIPPED = "skipped"  # not attempted; see reason
    SUPPRESSED = "suppressed"  # not attempted: the address is on the suppression list
    BOUNCED = "bounced"  # accepted, then bounced
    COMPLAINED = "complained"  # reported as spam by the recipient


@dataclass(frozen=True)
class DeliveryOutcome:
    """The result of an attempt. A delivery that is not finished is retried at ``due_at``."""

    state: DeliveryState
    reason: str | None = None
    due_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Notification:
    """A notification to a user, before it is split by channels."""

    event_id: UUID
    user_id: UUID
    category: str
    template: str
    mandatory: bool  # sent regardless of the user's preferences
    data: dict[str, Any]  # variables of the template
    created_at: datetime
    cause: dict[str, str] = field(default_factory=correlation_ids)

    def delivery_id(self, channel: str) -> UUID:
        """Return the delivery id: deterministic, so that a redelivered event cannot send the notification twice."""
        return uuid5(self.event_id, f"{self.user_id}/{channel}")


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A notification to one user by one channel other than the in-app inbox.

    It contains no address: that is looked up when it is sent.
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
    sort_key: UUID  # the order in the collection, ascending with time
    cause: dict[str, str] = field(default_factory=dict)  # ``correlation_ids()`` when it was queued
    reached: list[UUID] = field(default_factory=list)  # the ids of the devices that have received it

    def result_event(self, outcome: DeliveryOutcome, at: datetime) -> NotificationSent | NotificationFailed:
        """Create the event of the result: NOTIFICATION_SENT or NOTIFICATION_FAILED."""
        if outcome.state is DeliveryState.SENT:
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
