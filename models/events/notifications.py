"""What the notifications service tells."""

from dataclasses import dataclass
from uuid import UUID

from .event import Event, Moment


@dataclass(frozen=True, kw_only=True)
class NotificationSent(Event, topic="notifications"):
    """A delivery ended well: the channel's provider took the message."""

    notification_id: UUID
    user_id: UUID
    category: str
    channel: str  # email …
    sent_at: Moment


@dataclass(frozen=True, kw_only=True)
class NotificationFailed(Event, topic="notifications"):
    """A delivery ended badly and will not be tried again."""

    notification_id: UUID
    user_id: UUID
    category: str
    channel: str
    reason: str
    failed_at: Moment
