"""Prometheus metrics that are read from the tables of notifications."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models.notifications import EndedDelivery
from workers import fact
from workers._metrics import Rows


@fact("coursebus_notifications_total", "Deliveries that have ended: sent or failed.", "state")
def notifications(session: Session) -> Rows:
    return session.execute(select(EndedDelivery.state, func.count()).group_by(EndedDelivery.state))
