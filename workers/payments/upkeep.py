"""Delete payments data whose retention time is over."""

from models.base import now
from models.payments.retention import expired
from workers import job
from workers._delivery import Sessions
from workers._maintenance import prune_expired


@job(every_seconds=3600)
def prune_payments(sessions: Sessions) -> None:
    """Delete applied webhooks and order history entries whose retention time is over."""
    prune_expired(sessions, expired(now()))
