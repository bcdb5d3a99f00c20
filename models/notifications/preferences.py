"""What a user wants to be told, by which channel, and at which hours not."""

from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import msgspec

IN_APP, EMAIL, PUSH = "in_app", "email", "push"
CHANNELS = (EMAIL, PUSH, IN_APP)
# What is mandatory in them goes out whatever is chosen here (workers/notifications/rules.py).
CATEGORIES = ("account", "courses", "progress", "reminders", "receipts", "security")


class QuietHours(msgspec.Struct, frozen=True, rename={"start": "from", "end": "to"}):
    """From when to when nothing is sent, on the clock of the user: "22:00" to "08:00" lies over midnight."""

    start: str
    end: str

    def until(self, at: datetime, zone: ZoneInfo) -> datetime | None:
        """The end of the quiet hours that hold ``at``; None when it is not quiet then."""
        start, end, local = time.fromisoformat(self.start), time.fromisoformat(self.end), at.astimezone(zone)
        clock = local.time()
        over_midnight = end < start
        if not (start <= clock or clock < end if over_midnight else start <= clock < end):
            return None
        day = local.date() + timedelta(days=1) if over_midnight and start <= clock else local.date()
        until = datetime.combine(day, end, zone)
        # An hour that the clock shows twice: what has passed was the first one.
        return until if until.timestamp() > at.timestamp() else until.replace(fold=1)


class Channels(msgspec.Struct, frozen=True):
    """By which channels the notifications of a category may come."""

    email: bool = True
    push: bool = True
    in_app: bool = True


class Preferences(msgspec.Struct, frozen=True):
    """All that a user has chosen; who has chosen nothing is told everything."""

    categories: dict[str, Channels] = {}
    quiet_hours: QuietHours | None = None
    digest: str = "off"

    def allow(self, category: str, channel: str) -> bool:
        return bool(getattr(self.categories.get(category, Channels()), channel))

    def complete(self) -> "Preferences":
        """With every category there is."""
        chosen = {name: self.categories.get(name, Channels()) for name in CATEGORIES}
        return msgspec.structs.replace(self, categories=chosen)
