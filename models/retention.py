"""Retention periods of the bus tables."""

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, inspect, or_, select, tuple_
from sqlalchemy.orm import Session

import settings

from .base import Base
from .deadletters import DeadLetter, FailedDelivery
from .events import every_event
from .idempotency import KEPT_FOR, IdempotencyKey
from .inbox import InboxEvent
from .jobs import MAX_ATTEMPTS, Job
from .operations import Operation
from .outbox import OutboxEvent
from .personal import ExportPart

Expired = dict[type[Base], ColumnElement[bool]]


def expired(at: datetime) -> Expired:
    """Return by table the condition for rows past their retention; ``kept_for_good`` events never expire."""
    prunable = sorted(event.type for event in every_event() if not event.kept_for_good)
    failed = Job.attempts >= MAX_ATTEMPTS
    return {
        OutboxEvent: OutboxEvent.type.in_(prunable)
        & (OutboxEvent.published_at < at - timedelta(days=settings.OUTBOX_KEPT_DAYS)),
        InboxEvent: InboxEvent.handled_at < at - timedelta(days=settings.INBOX_KEPT_DAYS),
        # Failed attempts must be known for as long as their event may be delivered again.
        FailedDelivery: FailedDelivery.failed_at < at - timedelta(days=settings.INBOX_KEPT_DAYS),
        IdempotencyKey: IdempotencyKey.created_at < at - KEPT_FOR,
        Operation: Operation.finished_at < at - timedelta(days=settings.OPERATIONS_KEPT_DAYS),
        ExportPart: ExportPart.made_at < at - timedelta(days=settings.OPERATIONS_KEPT_DAYS),
        Job: or_(Job.finished_at.is_not(None), failed) & (Job.slot < at - timedelta(days=settings.JOBS_KEPT_DAYS)),
        DeadLetter: DeadLetter.closed_at < at - timedelta(days=settings.DEAD_LETTERS_KEPT_DAYS),
    }


def prune(session: Session, table: type[Base], gone: ColumnElement[bool], *, limit: int) -> int:
    """Delete up to ``limit`` rows that match ``gone``; return their number. Locked rows are skipped."""
    key = tuple_(*inspect(table).primary_key)
    batch = select(*inspect(table).primary_key).where(gone).limit(limit).with_for_update(skip_locked=True)
    deleted = session.execute(delete(table).where(key.in_(batch)).execution_options(synchronize_session=False))
    return deleted.rowcount  # type: ignore[attr-defined,no-any-return]  # a delete's result has it
