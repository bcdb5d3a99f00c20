"""Deletion of expired rows in the shared tables of every service."""

import time

from core.bus.retention import ExpiredRows, expired_rows, prune
from core.db import utc_now
from core.log import get_logger
from workers.runtime.execution import Transactions
from workers.runtime.jobs import per_service_job

log = get_logger(__name__)

BATCH = 1000  # rows per transaction, so that no lock is held for long
BUDGET_SECONDS = 60  # below the lease of a job; the next hourly run deletes the rest


@per_service_job
def prune_bus(transactions: Transactions) -> None:
    """Delete rows whose retention period has ended."""
    prune_expired(transactions, expired_rows(utc_now()))


def prune_expired(transactions: Transactions, tables: ExpiredRows) -> None:
    """Delete the rows that match ``tables``, in batches, until none is left or BUDGET_SECONDS have passed."""
    deadline = time.monotonic() + BUDGET_SECONDS
    for table, is_expired in tables.items():
        deleted, full = 0, True
        while full and time.monotonic() < deadline:
            with transactions.begin() as session:
                count = prune(session, table, is_expired, limit=BATCH)
            deleted, full = deleted + count, count == BATCH
        if deleted:
            log.info("pruned", table=table.__tablename__, rows=deleted)
