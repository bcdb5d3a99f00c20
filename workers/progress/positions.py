"""Playback positions: store one, and complete the lesson if that meets its rule."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from models.events import Event
from models.progress import CourseProgress, PlaybackPosition


def store_position(
    session: Session,
    progress: CourseProgress,
    lesson_id: UUID,
    position_seconds: int,
    from_seconds: int,
    *,
    at: datetime,
) -> tuple[dict[str, Any], list[Event]]:
    """Store a position in an open lesson; return the view, and the events to publish if that completes the lesson."""
    view = PlaybackPosition.upsert(
        session,
        user_id=progress.user_id,
        course_id=progress.course_id,
        lesson_id=lesson_id,
        position_seconds=position_seconds,
        from_seconds=from_seconds,
        at=at,
    )
    has_viewed = progress.has_viewed(lesson_id, view["watched_seconds"])
    return view, progress.complete_open_lesson(session, lesson_id, at=at) if has_viewed else []
