"""Prometheus metrics that are queried from the progress tables."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models.progress import CourseProgress
from workers import database_metric
from workers.runtime.metrics import Rows


@database_metric("coursebus_lessons_completed", "Completed lessons.")
def lessons_completed(session: Session) -> Rows:
    return session.execute(select(func.sum(CourseProgress.lessons_completed)))


@database_metric("coursebus_courses_completed", "Completed courses.")
def courses_completed(session: Session) -> Rows:
    return session.execute(select(func.count()).where(CourseProgress.completed_at.is_not(None)))
