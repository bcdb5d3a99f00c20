"""Prometheus metrics that are read from the tables of users."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models.users import IdentityChange, User
from workers import database_metric
from workers.runtime.metrics import Rows

FAILING_AFTER_ATTEMPTS = 5  # about ten minutes after the first attempt


@database_metric("coursebus_users", "Users without erased accounts.")
def users(session: Session) -> Rows:
    return session.execute(select(func.count()).where(User.erased_at.is_(None)))


@database_metric("coursebus_identity_changes_failing", "Changes that Auth0 refused at least five times.", "kind")
def identity_changes_failing(session: Session) -> Rows:
    failing = IdentityChange.attempts >= FAILING_AFTER_ATTEMPTS
    return session.execute(select(IdentityChange.kind, func.count().filter(failing)).group_by(IdentityChange.kind))
