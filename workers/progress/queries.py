"""Queries: progress, playback positions and streaks."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from core.db import utc_now
from models.commands.progress import ProgressCursor
from models.progress import CourseProgress, PlaybackPosition
from models.progress.learner_view import show_learner_progress as show_with_lessons
from models.progress.streaks import active_days, local_day, streak
from workers import task


@task
def show_progress(session: Session, *, user_id: UUID, course_id: UUID) -> dict[str, Any]:
    """Return a learner's progress in a course. Raises ProgressNotFound."""
    return CourseProgress.get(session, user_id, course_id).to_response()


@task
def list_progress(session: Session, *, user_id: UUID, after: ProgressCursor | None, limit: int) -> dict[str, Any]:
    """Return a page of a learner's progress in all courses, the latest started first: {"items", "next"}."""
    courses, following = CourseProgress.list_page(session, user_id, after, limit)
    return {"items": [progress.to_response() for progress in courses], "next": following}


@task
def list_course_progress(session: Session, *, user_id: UUID, course_ids: list[UUID]) -> dict[str, Any]:
    """Return a learner's progress in these courses: {"items"}, without those that they have not started."""
    found = CourseProgress.list_of_courses(session, user_id, course_ids)
    return {"items": [progress.to_response() for progress in found]}


@task
def show_learner_progress(session: Session, *, user_id: UUID, course_id: UUID) -> dict[str, Any]:
    """Return a learner's progress in a course with the state of each lesson. Raises NotEnrolled."""
    return show_with_lessons(session, user_id, course_id, at=utc_now())


@task
def show_position(session: Session, *, user_id: UUID, course_id: UUID, lesson_id: UUID) -> dict[str, Any]:
    """Return a learner's playback position in a lesson. Raises NotEnrolled, NotFound."""
    CourseProgress.get_with_outline(session, user_id, course_id).outline.lesson(lesson_id)
    return PlaybackPosition.get(session, user_id, course_id, lesson_id)


@task
def show_streak(session: Session, *, user_id: UUID, timezone: str) -> dict[str, Any]:
    """Return the streak: consecutive days with completed lessons in the calendar of ``timezone``."""
    return streak(active_days(session, user_id, timezone=timezone), today=local_day(utc_now(), timezone))
