"""Streaks: consecutive days on which a learner completed a lesson."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from .completed_lessons import CompletedLesson

_DAY = timedelta(days=1)
_QUARTER, _ORIGIN = timedelta(minutes=15), datetime(2000, 1, 1, tzinfo=UTC)


def active_days(session: Session, user_id: UUID, *, timezone: str) -> Sequence[date]:
    """Return the dates in the learner's time zone on which they completed a lesson, latest first.

    Python converts the times, because the time zones known to PostgreSQL depend on its build.
    """
    # Every UTC offset is a multiple of 15 minutes, so a 15-minute interval never spans two local dates.
    quarter = func.date_bin(_QUARTER, CompletedLesson.completed_at, _ORIGIN)
    quarters = session.scalars(select(quarter).where(CompletedLesson.user_id == user_id).distinct())
    return sorted({local_day(each, timezone) for each in quarters}, reverse=True)


def local_day(moment: datetime, timezone: str) -> date:
    """Return the date of ``moment`` in ``timezone``."""
    return moment.astimezone(ZoneInfo(timezone)).date()


def streak(days: Sequence[date], *, today: date) -> dict[str, Any]:
    """Return the response of GET /v1/me/streak for ``days``, latest first.

    The current streak breaks after a full day without activity.
    """
    runs: list[int] = []
    for day, day_after in zip(days, [None, *days], strict=False):
        if day_after and day_after - day == _DAY:
            runs[-1] += 1
        else:
            runs.append(1)
    is_current = bool(days) and today - days[0] <= _DAY
    return {
        "current_days": runs[0] if is_current else 0,
        "longest_days": max(runs, default=0),
        "last_active_on": days[0] if days else None,
    }
