"""Schedules of single learners, and LESSON_UNLOCKED when lessons open by time."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from core.cache import invalidation_marker, progress_version_key
from core.db import utc_now
from models.commands.progress import ScheduleFields
from models.errors import NotEnrolled, NotFound
from models.progress import CourseProgress
from models.progress.unlocks import get_learner_for_update, unlock_page
from models.progress.unlocks import replace_schedule as replace_own_schedule
from workers import job, task
from workers.runtime.dependencies import CacheAfterCommit
from workers.runtime.execution import Transactions

from .learner_pages import invalidate_pages

PAGE_SIZE = 50  # learners of one transaction
PAGES = 20  # of one run: a date that opens a lesson for all learners reports 100 learners a second


@task
def show_schedule(session: Session, *, user_id: UUID, course_id: UUID) -> dict[str, Any]:
    """Return a learner's schedule: {"version", "view"}. Raises NotFound."""
    try:
        return _view(CourseProgress.get_with_outline(session, user_id, course_id))
    except NotEnrolled:
        raise NotFound("learner", str(user_id)) from None


@task
def replace_schedule(
    session: Session,
    cache_after_commit: CacheAfterCommit,
    *,
    user_id: UUID,
    course_id: UUID,
    expected_version: int,
    schedule: ScheduleFields,
) -> dict[str, Any]:
    """Open lessons for one learner at other times than those of the course: {"version", "view"}.

    Raises NotFound, PreconditionFailed.
    """
    progress = get_learner_for_update(session, user_id, course_id)
    replace_own_schedule(session, progress, schedule, expected_version=expected_version, at=utc_now())
    cache_after_commit(progress_version_key(user_id), invalidation_marker)
    return _view(progress)


@task
def remove_schedule(
    session: Session, cache_after_commit: CacheAfterCommit, *, user_id: UUID, course_id: UUID, expected_version: int
) -> None:
    """Let a learner's lessons open by the schedule of the course again. Raises NotFound, PreconditionFailed."""
    progress = get_learner_for_update(session, user_id, course_id)
    replace_own_schedule(session, progress, None, expected_version=expected_version, at=utc_now())
    cache_after_commit(progress_version_key(user_id), invalidation_marker)


def _view(progress: CourseProgress) -> dict[str, Any]:
    schedule = progress.own_schedule
    return {"version": schedule.version, "view": schedule.to_response(progress.outline.lessons)}


@job
def publish_unlocked_lessons(transactions: Transactions) -> None:
    """Publish LESSON_UNLOCKED of lessons that have opened, for PAGES pages of learners at most."""
    for _ in range(PAGES):
        with transactions.begin() as session:
            user_ids = unlock_page(session, limit=PAGE_SIZE, at=utc_now())
        invalidate_pages(user_ids)
        if len(user_ids) < PAGE_SIZE:
            return
