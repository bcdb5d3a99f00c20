"""Days in a row on which somebody completed a lesson."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import Date, cast, func, select
from sqlalchemy.orm import Session

from .course_progress import CompletedLesson

_DAY = timedelta(days=1)


def active_days(session: Session, user_id: UUID, *, timezone: str) -> Sequence[date]:
    """The days of a learner's own calendar on which they completed a lesson, the latest first."""
    day = cast(func.timezone(timezone, CompletedLesson.completed_at), Date)
    theirs = select(day).where(CompletedLesson.user_id == user_id).distinct().order_by(day.desc())
    return session.scalars(theirs).all()


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
