"""Pruning what payments keeps for a time only."""

from models.base import now
from models.payments.retention import expired
from workers import job
from workers._delivery import Sessions
from workers._maintenance import prune_expired


@job(every_seconds=3600)
def prune_payments(sessions: Sessions) -> None:
    """Delete webhooks that were applied, and steps of orders, after their time."""
    prune_expired(sessions, expired(now()))
