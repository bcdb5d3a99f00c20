"""Notification preferences of a user: channels by category, and quiet hours."""

from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import msgspec

IN_APP, EMAIL, PUSH = "in_app", "email", "push"
CHANNELS = (EMAIL, PUSH, IN_APP)
# Mandatory notifications (workers/notifications/notification_rules.py) are sent regardless of these preferences.
ANNOUNCEMENTS = "announcements"
CATEGORIES = ("account", "courses", ANNOUNCEMENTS, "progress", "reminders", "receipts", "security")


class QuietHours(msgspec.Struct, frozen=True, rename={"start": "from", "end": "to"}):
    """Hours without notifications, in the user's local time; "22:00" to "08:00" spans midnight."""

    start: str
    end: str

    def until(self, at: datetime, zone: ZoneInfo) -> datetime | None:
        """Return the end of the quiet hours that contain ``at``; None if ``at`` is outside of them."""
        start, end, local = time.fromisoformat(self.start), time.fromisoformat(self.end), at.astimezone(zone)
        clock = local.time()
        spans_midnight = end < start
        if not (start <= clock or clock < end if spans_midnight else start <= clock < end):
            return None
        day = local.date() + timedelta(days=1) if spans_midnight and start <= clock else local.date()
        until = datetime.combine(day, end, zone)
        # At the end of daylight saving time an hour occurs twice: if its first occurrence has passed, take the second.
        return until if until.timestamp() > at.timestamp() else until.replace(fold=1)


class ChannelChoices(msgspec.Struct, frozen=True):
    """The channels that are allowed for a category of notifications."""

    email: bool = True
    push: bool = True
    in_app: bool = True


class Preferences(msgspec.Struct, frozen=True):
    """A user's choices; without a choice every channel is allowed."""

    categories: dict[str, ChannelChoices] = {}
    quiet_hours: QuietHours | None = None
    digest: str = "off"

    def allow(self, category: str, channel: str) -> bool:
        return bool(getattr(self.categories.get(category, ChannelChoices()), channel))

    def complete(self) -> "Preferences":
        """Return the preferences with all categories filled in."""
        chosen = {name: self.categories.get(name, ChannelChoices()) for name in CATEGORIES}
        return msgspec.structs.replace(self, categories=chosen)
