"""Reminder schedules: the delay of each step and the hours of the learner's day in which reminders are sent."""

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from models.notifications.reminders import ABANDONED_CHECKOUT, INACTIVITY, STREAK

DAY = timedelta(days=1)
GRACE_PERIOD = 30 * DAY  # after the last step: no reminder is sent later than this


@dataclass(frozen=True)
class ReminderSchedule:
    """Schedule of one kind of reminder."""

    steps: tuple[timedelta, ...]  # delays from the start of the wait
    hours: tuple[int, int] | None = None  # local hours: first (inclusive), last (exclusive)

    def due(self, since: datetime, step: int, zone: ZoneInfo) -> datetime | None:
        """Return when reminder ``step`` (0, 1, 2 …) may be sent; None after the last step."""
        return self.next_allowed_time(since + self.steps[step], zone) if step < len(self.steps) else None

    def step_at(self, since: datetime, at: datetime) -> int:
        """Return the last step that is due at ``at``. Earlier missed steps are skipped, not sent one after another."""
        return sum(since + step <= at for step in self.steps) - 1

    def expires_at(self, since: datetime) -> datetime:
        """Return the time after which no reminder is sent.

        It must be earlier than the deletion of sent reminders; otherwise a reminder could be sent twice.
        """
        return since + self.steps[-1] + GRACE_PERIOD

    def next_allowed_time(self, at: datetime, zone: ZoneInfo) -> datetime:
        """Return the first time at or after ``at`` that is within ``hours``."""
        if self.hours is None:
            return at
        first, last = self.hours
        local = at.astimezone(zone)
        if first <= local.hour < last:
            return at
        day = local.date() if local.hour < first else local.date() + DAY
        return datetime.combine(day, time(first), zone)


SCHEDULES = {
    INACTIVITY: ReminderSchedule(steps=(3 * DAY, 7 * DAY, 30 * DAY), hours=(9, 12)),
    # The wait starts with the day of the last lesson. The reminder is due in the evening of the following day,
    # at whose end the streak breaks.
    STREAK: ReminderSchedule(steps=(DAY,), hours=(19, 22)),
    ABANDONED_CHECKOUT: ReminderSchedule(steps=(timedelta(hours=1), timedelta(hours=24))),
}
