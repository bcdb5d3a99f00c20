"""Deletion of expired rows in the shared tables of every service."""

import time

from models.base import now
from models.log import get_logger
from models.retention import Expired, expired, prune

from ._delivery import Sessions
from ._jobs import job_of_every_service

log = get_logger(__name__)

BATCH = 1000  # rows per transaction, so that no lock is held for long
BUDGET_SECONDS = 60  # below the lease of a job; the next hourly run deletes the rest


@job_of_every_service(every_seconds=3600)
def prune_bus(sessions: Sessions) -> None:
    """Delete rows whose retention period has ended."""
    prune_expired(sessions, expired(now()))


def prune_expired(sessions: Sessions, tables: Expired) -> None:
    """Delete the rows that match ``tables``, in batches, until none is left or BUDGET_SECONDS have passed."""
    deadline = time.monotonic() + BUDGET_SECONDS
    for table, gone in tables.items():
        deleted, full = 0, True
        while full and time.monotonic() < deadline:
            with sessions.begin() as session:
                count = prune(session, table, gone, limit=BATCH)
            deleted, full = deleted + count, count == BATCH
        if deleted:
            log.info("pruned", table=table.__tablename__, rows=deleted)
