"""What of the bus is kept for how long."""

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
    """By table, which rows nobody needs any more; events that are kept stay for good."""
    prunable = sorted(event.type for event in every_event() if not event.kept_for_good)
    poisonous = Job.attempts >= MAX_ATTEMPTS
    return {
        OutboxEvent: OutboxEvent.type.in_(prunable)
        & (OutboxEvent.published_at < at - timedelta(days=settings.OUTBOX_KEPT_DAYS)),
        InboxEvent: InboxEvent.handled_at < at - timedelta(days=settings.INBOX_KEPT_DAYS),
        # An attempt that was never followed by a good end is of interest for as long as its event may come again.
        FailedDelivery: FailedDelivery.failed_at < at - timedelta(days=settings.INBOX_KEPT_DAYS),
        IdempotencyKey: IdempotencyKey.created_at < at - KEPT_FOR,
        Operation: Operation.finished_at < at - timedelta(days=settings.OPERATIONS_KEPT_DAYS),
        ExportPart: ExportPart.made_at < at - timedelta(days=settings.OPERATIONS_KEPT_DAYS),
        Job: or_(Job.finished_at.is_not(None), poisonous) & (Job.slot < at - timedelta(days=settings.JOBS_KEPT_DAYS)),
        DeadLetter: DeadLetter.closed_at < at - timedelta(days=settings.DEAD_LETTERS_KEPT_DAYS),
    }


def prune(session: Session, table: type[Base], gone: ColumnElement[bool], *, limit: int) -> int:
    """Delete up to ``limit`` rows; returns how many those were. What another has locked is left to it."""
    key = tuple_(*inspect(table).primary_key)
    batch = select(*inspect(table).primary_key).where(gone).limit(limit).with_for_update(skip_locked=True)
    deleted = session.execute(delete(table).where(key.in_(batch)).execution_options(synchronize_session=False))
    return deleted.rowcount  # type: ignore[attr-defined,no-any-return]  # a delete's result has it
