"""Retention periods of the bus tables."""

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, inspect, or_, select, tuple_
from sqlalchemy.orm import Session

import settings
from core.db import Base
from core.events import all_event_types

from .dead_letters import DeadLetter, HandlerFailure
from .export_parts import ExportPart
from .idempotency import RETENTION, IdempotencyKey
from .inbox import InboxEvent
from .jobs import MAX_ATTEMPTS, JobRun
from .operations import Operation
from .outbox import OutboxEvent

ExpiredRows = dict[type[Base], ColumnElement[bool]]


def expired_rows(at: datetime) -> ExpiredRows:
    """Return by table the condition for rows past their retention; ``retained_forever`` events never expire."""
    prunable = sorted(event.type for event in all_event_types() if not event.retained_forever)
    failed = JobRun.attempts >= MAX_ATTEMPTS
    return {
        OutboxEvent: OutboxEvent.type.in_(prunable)
        & (OutboxEvent.published_at < at - timedelta(days=settings.OUTBOX_RETENTION_DAYS)),
        InboxEvent: InboxEvent.handled_at < at - timedelta(days=settings.INBOX_RETENTION_DAYS),
        # Failed attempts must be known for as long as their event may be delivered again.
        HandlerFailure: HandlerFailure.failed_at < at - timedelta(days=settings.INBOX_RETENTION_DAYS),
        IdempotencyKey: IdempotencyKey.created_at < at - RETENTION,
        Operation: Operation.finished_at < at - timedelta(days=settings.OPERATIONS_RETENTION_DAYS),
        ExportPart: ExportPart.created_at < at - timedelta(days=settings.OPERATIONS_RETENTION_DAYS),
        JobRun: or_(JobRun.finished_at.is_not(None), failed)
        & (JobRun.slot < at - timedelta(days=settings.JOBS_RETENTION_DAYS)),
        DeadLetter: DeadLetter.closed_at < at - timedelta(days=settings.DEAD_LETTERS_RETENTION_DAYS),
    }


def prune(session: Session, table: type[Base], is_expired: ColumnElement[bool], *, limit: int) -> int:
    """Delete up to ``limit`` rows that match ``is_expired``; return their number. Locked rows are skipped."""
    key = tuple_(*inspect(table).primary_key)
    batch = select(*inspect(table).primary_key).where(is_expired).limit(limit).with_for_update(skip_locked=True)
    deleted = session.execute(delete(table).where(key.in_(batch)).execution_options(synchronize_session=False))
    return deleted.rowcount  # type: ignore[attr-defined, no-any-return]  # a delete's result has it
