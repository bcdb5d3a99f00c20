"""A learner's progress in a course with the state of each lesson, in one statement."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, func, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session, joinedload

from models.errors import NotEnrolled

from .completed_lessons import CompletedLesson
from .course_progress import CourseProgress
from .playback_positions import PlaybackPosition
from .prerequisites import MISSING_PREREQUISITE
from .schedules import Schedule


def show_learner_progress(session: Session, user_id: UUID, course_id: UUID, *, at: datetime) -> dict[str, Any]:
    """Return a learner's progress, their certificate, and the state of each lesson by its id. Raises NotEnrolled."""
    found = session.execute(_WITH_LESSONS, {"user": user_id, "course": course_id}).one_or_none()
    if found is None or found[0].is_closed:
        raise NotEnrolled(str(course_id))
    progress, completed, positions, missing = found
    schedule = progress.own_schedule
    return {
        "course_version": progress.course_version,
        "schedule": None if schedule.is_empty else schedule.note(),
        "progress": progress.to_response(),
        "certificate": progress.certificate_code
        and {"code": progress.certificate_code, "issued_at": progress.certified_at},
        "lessons": {
            lesson["id"]: {
                "completed_at": _parse((completed or {}).get(lesson["id"])),
                **_position(positions, lesson["id"]),
                **_lock(progress, schedule, lesson, missing=missing, completed=completed or {}, at=at),
            }
            for lesson in progress.outline.lessons
        },
    }


def _lock(
    progress: CourseProgress,
    schedule: Schedule,
    lesson: dict[str, Any],
    *,
    missing: UUID | None,
    completed: dict[str, str],
    at: datetime,
) -> dict[str, Any]:
    """Return whether a lesson is locked, why, and what to complete first: the rules of ``require_open_lesson``."""
    opens = schedule.opens_at(lesson, started_at=progress.started_at)
    reason, first = None, None
    if missing:
        reason, first = "prerequisite", missing
    elif progress.locks(UUID(lesson["id"])) and lesson["id"] not in completed:
        reason, first = "previous_lesson", progress.next_lesson_id
    elif at < opens:
        reason = "not_open"
    return {
        "locked": reason is not None,
        "locked_reason": reason,
        "locked_by": first,
        "opens_at": opens if opens > progress.started_at else None,
    }


def _position(positions: dict[str, list[int]] | None, lesson_id: str) -> dict[str, int]:
    latest, furthest = (positions or {}).get(lesson_id, (0, 0))
    return {"position_seconds": latest, "furthest_seconds": furthest}


def _parse(moment: str | None) -> datetime | None:
    return datetime.fromisoformat(moment) if moment else None


# Built once: building a statement takes longer than executing it.
_COMPLETED = (
    select(func.jsonb_object_agg(CompletedLesson.lesson_id, CompletedLesson.completed_at, type_=JSONB))
    .where(CompletedLesson.user_id == bindparam("user"), CompletedLesson.course_id == bindparam("course"))
    .scalar_subquery()
)
_POSITIONS = (
    select(
        func.jsonb_object_agg(
            PlaybackPosition.lesson_id,
            func.jsonb_build_array(PlaybackPosition.position_seconds, PlaybackPosition.furthest_seconds),
            type_=JSONB,
        )
    )
    .where(PlaybackPosition.user_id == bindparam("user"), PlaybackPosition.course_id == bindparam("course"))
    .scalar_subquery()
)
_WITH_LESSONS = (
    select(CourseProgress, _COMPLETED, _POSITIONS, MISSING_PREREQUISITE.scalar_subquery())
    .where(CourseProgress.user_id == bindparam("user"), CourseProgress.course_id == bindparam("course"))
    .options(joinedload(CourseProgress.outline))
    .execution_options(populate_existing=True)
)
