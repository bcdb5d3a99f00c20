"""Delete payments data whose retention time is over."""

from core.db import utc_now
from models.payments.retention import expired_rows
from workers import job
from workers.common.maintenance import prune_expired
from workers.runtime.execution import Transactions


@job
def prune_payments(transactions: Transactions) -> None:
    """Delete applied webhooks and order history entries whose retention time is over."""
    prune_expired(transactions, expired_rows(utc_now()))
