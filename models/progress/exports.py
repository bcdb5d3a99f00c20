"""The progress of a learner for a data export."""

from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from .completed_lessons import CompletedLesson
from .course_progress import CourseProgress


def export_courses(session: Session, user_id: UUID) -> list[dict[str, Any]]:
    """Return the progress of a learner in all courses."""
    completed = CompletedLesson.list_for_user(session, user_id)
    started = select(CourseProgress).where(CourseProgress.user_id == user_id).order_by(CourseProgress.started_at)
    return [
        {
            **progress.to_response(),
            "closed_at": progress.closed_at,
            "completed_lessons": [
                {"lesson_id": each.lesson_id, "completed_at": each.completed_at}
                for each in completed
                if each.course_id == progress.course_id
            ],
        }
        for progress in session.scalars(started)
    ]
