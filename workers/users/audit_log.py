"""Retention of the audit log of all services."""

from datetime import timedelta

import settings
from core.bus.staff_actions import StaffAction
from core.db import utc_now
from core.log import get_logger
from workers import job
from workers.runtime.execution import Transactions

log = get_logger(__name__)

BATCH_SIZE = 1000  # entries per transaction
MAX_BATCHES = 100  # per run; the next run continues


@job
def prune_audit_log(transactions: Transactions) -> None:
    """Delete entries older than AUDIT_RETENTION_DAYS, the oldest first; none if that is 0."""
    if not settings.AUDIT_RETENTION_DAYS:
        return
    older_than, deleted = utc_now() - timedelta(days=settings.AUDIT_RETENTION_DAYS), 0
    for _ in range(MAX_BATCHES):
        with transactions.begin() as session:
            count = StaffAction.prune(session, older_than=older_than, limit=BATCH_SIZE)
        deleted += count
        if count < BATCH_SIZE:
            break
    if deleted:
        log.info("pruned", table=StaffAction.__tablename__, rows=deleted)
