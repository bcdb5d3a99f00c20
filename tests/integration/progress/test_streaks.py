"""Streaks of days in the learner's time zone."""

from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy.orm import Session

from models.progress import CourseProgress
from models.progress.streaks import active_days, local_day, streak
from tests.integration.progress.builders import Learner

TODAY = date(2026, 3, 10)


def days_ago(*days: int) -> list[date]:
    return [TODAY - timedelta(days=each) for each in days]


@pytest.mark.parametrize(
    ("days", "current", "longest"),
    [
        ((), 0, 0),
        ((0,), 1, 1),
        ((1,), 1, 1),
        ((2,), 0, 1),
        ((0, 1, 2), 3, 3),
        ((1, 2, 4, 5, 6), 2, 3),
        ((3, 4), 0, 2),
    ],
)
def test_streak_breaks_after_full_idle_day(days, current, longest):
    shown = streak(days_ago(*days), today=TODAY)
    assert (shown["current_days"], shown["longest_days"]) == (current, longest)
    assert shown["last_active_on"] == (days_ago(days[0])[0] if days else None)


def test_active_days_use_learner_timezone(session: Session):
    learner = Learner(session)
    evening = datetime(2026, 3, 9, 22, 30, tzinfo=UTC)
    for lesson_id, at in zip(learner.lessons, (evening, evening + timedelta(hours=1)), strict=False):
        CourseProgress.get_for_update(session, **learner.in_course).complete(session, lesson_id, at=at)
    session.flush()
    assert active_days(session, learner.user_id, timezone="UTC") == [date(2026, 3, 9)]
    assert active_days(session, learner.user_id, timezone="Europe/Moscow") == [date(2026, 3, 10)]
    assert active_days(session, learner.user_id, timezone="Europe/Berlin") == [date(2026, 3, 10), date(2026, 3, 9)]
    assert local_day(evening, "Europe/Moscow") == date(2026, 3, 10)
