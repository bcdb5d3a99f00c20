"""Lessons that open by time: which ones opened for a learner, each reported once."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from core.bus.outbox import record
from models.commands.progress import ScheduleFields
from models.errors import NotFound
from models.events import LessonUnlocked

from .course_progress import CourseProgress
from .prerequisites import MISSING_PREREQUISITE
from .schedules import Schedule, UnlockedLesson


def get_learner_for_update(session: Session, user_id: UUID, course_id: UUID) -> CourseProgress:
    """Return the progress of a learner who has access, locked. Raises NotFound."""
    progress = CourseProgress.locked_or_none(session, user_id, course_id)
    if progress is None or progress.is_closed:
        raise NotFound("learner", str(user_id))
    return progress


def replace_schedule(
    session: Session, progress: CourseProgress, fields: ScheduleFields | None, *, expected_version: int, at: datetime
) -> None:
    """Replace the schedule of a learner, by that of the course without ``fields``; publish which lessons it opens.

    Raises PreconditionFailed, NotFound for a lesson that is not in the learner's version.
    """
    before = progress.own_schedule
    before.require_version(expected_version)
    after = Schedule(version=before.version + 1)
    if fields:
        after.shift_days, after.reason, after.changed_at = fields.shift_days, fields.reason, at
        after.lessons = {progress.outline.lesson(each.lesson_id)["id"]: each.opens_at for each in fields.lessons}
    progress.schedule = after.to_stored()
    started_at = progress.started_at
    opened = [
        lesson
        for lesson in progress.outline.lessons
        if before.opens_at(lesson, started_at=started_at) > at >= after.opens_at(lesson, started_at=started_at)
    ]
    progress.plan_unlocks(after=at)
    _publish(session, progress, opened, at=at)


def unlock_page(session: Session, *, limit: int, at: datetime) -> list[UUID]:
    """Publish the lessons that have opened for up to ``limit`` learners; return their ids.

    Rows that other workers have locked are skipped.
    """
    due = (
        select(CourseProgress)
        .where(CourseProgress.next_unlock_at <= at, CourseProgress.has_access(at))
        .order_by(CourseProgress.next_unlock_at)
        .limit(limit)
        .options(joinedload(CourseProgress.outline))
        .with_for_update(of=CourseProgress, skip_locked=True)
        .execution_options(populate_existing=True)
    )
    learners = list(session.scalars(due))
    for progress in learners:
        _unlock(session, progress, at=at)
    return [progress.user_id for progress in learners]


def _unlock(session: Session, progress: CourseProgress, *, at: datetime) -> None:
    since, schedule = progress.next_unlock_at, progress.own_schedule
    assert since is not None
    openings = [(schedule.opens_at(each, started_at=progress.started_at), each) for each in progress.outline.lessons]
    progress.next_unlock_at = None
    progress.plan_unlocks(after=at)
    _publish(session, progress, [lesson for opens, lesson in openings if since <= opens <= at], at=at)


def _publish(session: Session, progress: CourseProgress, lessons: Iterable[dict[str, Any]], *, at: datetime) -> None:
    """Record LESSON_UNLOCKED of each lesson that was not reported to the learner before."""
    by_id = {lesson["id"]: lesson for lesson in lessons}
    new = UnlockedLesson.insert_new(session, progress.user_id, progress.course_id, [*by_id], at=at)
    if not new:
        return
    theirs = {"user": progress.user_id, "course": progress.course_id}
    is_barred = bool(progress.outline.prerequisites) and session.scalar(MISSING_PREREQUISITE, theirs) is not None
    schedule = progress.own_schedule
    events = [
        LessonUnlocked(
            user_id=progress.user_id,
            course_id=progress.course_id,
            course_title=progress.outline.title,
            lesson_id=UUID(lesson["id"]),
            lesson_title=lesson["title"],
            opened_at=schedule.opens_at(lesson, started_at=progress.started_at),
            unlocked_at=at,
            available=not is_barred and not progress.locks(UUID(lesson["id"])),
        )
        for lesson in by_id.values()
        if lesson["id"] in new
    ]
    record(session, progress, *events)
