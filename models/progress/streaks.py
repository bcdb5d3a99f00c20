"""Days in a row on which somebody completed a lesson."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from .course_progress import CompletedLesson

_DAY = timedelta(days=1)
_QUARTER, _ORIGIN = timedelta(minutes=15), datetime(2000, 1, 1, tzinfo=UTC)


def active_days(session: Session, user_id: UUID, *, timezone: str) -> Sequence[date]:
    """Return the days of a learner's own calendar on which they completed a lesson, the latest first.

    The calendar is Python's: the time zones that PostgreSQL knows depend on how it was built.
    """
    # Every zone's offset is a multiple of a quarter of an hour, so a quarter never lies on two days.
    quarter = func.date_bin(_QUARTER, CompletedLesson.completed_at, _ORIGIN)
    quarters = session.scalars(select(quarter).where(CompletedLesson.user_id == user_id).distinct())
    return sorted({local_day(each, timezone) for each in quarters}, reverse=True)


def local_day(moment: datetime, timezone: str) -> date:
    """The day of ``moment`` in the calendar of ``timezone``."""
    return moment.astimezone(ZoneInfo(timezone)).date()


def streak(days: Sequence[date], *, today: date) -> dict[str, Any]:
    """As GET /v1/me/streak shows ``days``, the latest first. A streak lives until a whole day has gone by without."""
    runs: list[int] = []
    for day, day_after in zip(days, [None, *days], strict=False):
        if day_after and day_after - day == _DAY:
            runs[-1] += 1
        else:
            runs.append(1)
    is_alive = bool(days) and today - days[0] <= _DAY
    return {
        "current_days": runs[0] if is_alive else 0,
        "longest_days": max(runs, default=0),
        "last_active_on": days[0] if days else None,
    }
