"""Prometheus metrics that are read from the tables of notifications."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models.notifications import DeliveryResult
from workers import database_metric
from workers.runtime.metrics import Rows


@database_metric("coursebus_notifications_total", "Finished deliveries: sent or failed.", "state")
def notifications(session: Session) -> Rows:
    return session.execute(select(DeliveryResult.state, func.count()).group_by(DeliveryResult.state))
