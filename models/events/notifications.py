"""Events published by the notifications service."""

from dataclasses import dataclass
from uuid import UUID

from core.events import AwareDatetime, Event


@dataclass(frozen=True, kw_only=True)
class NotificationSent(Event, topic="notifications"):
    """A notification was sent: the provider of the channel accepted the message."""

    notification_id: UUID
    user_id: UUID
    category: str
    channel: str  # email …
    sent_at: AwareDatetime


@dataclass(frozen=True, kw_only=True)
class NotificationFailed(Event, topic="notifications"):
    """A notification could not be sent and will not be retried."""

    notification_id: UUID
    user_id: UUID
    category: str
    channel: str
    reason: str
    failed_at: AwareDatetime
