"""When a learner is reminded: after how long, and at which hours of their day."""

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from models.notifications.reminders import ABANDONED_CHECKOUT, INACTIVITY, STREAK

DAY = timedelta(days=1)
LATEST = 30 * DAY  # after the last step


@dataclass(frozen=True)
class Plan:
    """How one kind of thing is reminded of."""

    steps: tuple[timedelta, ...]  # after it began
    hours: tuple[int, int] | None = None  # on the learner's clock: from, and before

    def due(self, since: datetime, step: int, zone: ZoneInfo) -> datetime | None:
        """When the reminder ``step`` (0, 1, 2 …) may go out; None after the last."""
        return self.opens(since + self.steps[step], zone) if step < len(self.steps) else None

    def step_at(self, since: datetime, at: datetime) -> int:
        """The last step that has come by ``at``: who was away for a week is not reminded of the third day."""
        return sum(since + step <= at for step in self.steps) - 1

    def given_up_after(self, since: datetime) -> datetime:
        """From when on it is too late for any reminder: sooner than reminders that went out are forgotten."""
        return since + self.steps[-1] + LATEST

    def opens(self, at: datetime, zone: ZoneInfo) -> datetime:
        """The first moment from ``at`` on that lies in the hours."""
        if self.hours is None:
            return at
        first, last = self.hours
        local = at.astimezone(zone)
        if first <= local.hour < last:
            return at
        day = local.date() if local.hour < first else local.date() + DAY
        return datetime.combine(day, time(first), zone)


PLANS = {
    INACTIVITY: Plan(steps=(3 * DAY, 7 * DAY, 30 * DAY), hours=(9, 12)),
    # Begun with the day of the last lesson: due on the evening of the day after, which would break it.
    STREAK: Plan(steps=(DAY,), hours=(19, 22)),
    ABANDONED_CHECKOUT: Plan(steps=(timedelta(hours=1), timedelta(hours=24))),
}
