"""Prometheus metrics that are queried from the courses tables."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models.courses.enrollments import Enrollment
from models.courses.grants import Grant
from workers import database_metric
from workers.runtime.metrics import Rows


@database_metric("coursebus_enrollments_total", "Enrollments of users in courses.")
def enrollments(session: Session) -> Rows:
    return session.execute(select(func.count()).select_from(Enrollment))


@database_metric("coursebus_grants", "Grants by source and status.", "source", "status")
def grants(session: Session) -> Rows:
    return session.execute(select(Grant.source, Grant.status, func.count()).group_by(Grant.source, Grant.status))
