"""Prometheus metrics that are read from the tables of users."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models.users import User
from workers import database_metric
from workers.runtime.metrics import Rows


@database_metric("coursebus_users", "Users without erased accounts.")
def users(session: Session) -> Rows:
    return session.execute(select(func.count()).where(User.erased_at.is_(None)))
