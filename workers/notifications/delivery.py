"""Claim deliveries and store their outcomes; enqueue those that are due. The channels send them (channels/).

A delivery whose outcome is known is sent once. If the outcome is unknown, the same message is sent again.
"""

from datetime import timedelta
from uuid import UUID

import settings
from core.db import utc_now
from core.log import bind_context, get_logger
from core.messaging import task_queue
from models.commands import DeliverEmail, DeliverPush
from models.notifications import (
    EMAIL,
    PUSH,
    Delivery,
    DeliveryOutcome,
    DeliveryResult,
    DeliveryState,
    NotificationSequence,
)
from models.notifications.notification_store import NotificationStore
from workers import job
from workers.runtime.dependencies import EnqueueAfterCommit
from workers.runtime.execution import Transactions

log = get_logger(__name__)

# Longer than any SMTP session: the worker of a delivery that is `sending` for longer has died.
LEASE = timedelta(seconds=settings.EMAIL_LEASE_SECONDS)
INITIAL_BACKOFF, MAX_BACKOFF = timedelta(seconds=15), timedelta(hours=1)
SWEEP_GRACE = timedelta(seconds=5)  # leaves time for the task that the handler enqueued
SWEEP_BATCH_SIZE = 100  # a run; the tasks share a queue with events and must not fill it

COMMAND_BY_CHANNEL = {EMAIL: DeliverEmail, PUSH: DeliverPush}


@job
def sweep_deliveries(notification_store: NotificationStore, enqueue_after_commit: EnqueueAfterCommit) -> None:
    """Enqueue due deliveries: announcements, retries, and deliveries whose task was lost or whose worker died.

    None if the queue is half full: the deliveries of earlier runs may still wait there.
    """
    limit = min(SWEEP_BATCH_SIZE, settings.QUEUE_LIMIT // 2 - task_queue.count_waiting("notifications"))
    for delivery_id, channel in notification_store.due(before=utc_now() - SWEEP_GRACE, limit=limit):
        enqueue_after_commit(COMMAND_BY_CHANNEL[channel](delivery_id=delivery_id))


def backoff(attempts: int) -> timedelta:
    """Return the backoff after ``attempts`` attempts: 15 s, 30 s, 1 min … 1 h."""
    doublings = min(attempts - 1, 16)  # a timedelta would overflow at 2**80
    return min(INITIAL_BACKOFF * (1 << doublings), MAX_BACKOFF)


def claim(notification_store: NotificationStore, delivery_id: UUID) -> Delivery | None:
    """Claim a delivery; return None if it is not due, or if it has ended already."""
    return notification_store.claim(delivery_id, at=utc_now(), until=utc_now() + LEASE)


def close(notification_store: NotificationStore, delivery: Delivery, result: DeliveryResult) -> None:
    """Close a claimed delivery whose ``result`` was published before.

    A crash between the commit of the result and the write to MongoDB leaves the delivery open in the history.
    """
    notification_store.finish(delivery, DeliveryOutcome(DeliveryState(result.state), result.reason), at=result.ended_at)


def apply_outcome(
    transactions: Transactions, notification_store: NotificationStore, delivery: Delivery, outcome: DeliveryOutcome
) -> None:
    match outcome.state:
        case DeliveryState.SENT | DeliveryState.FAILED:
            _finish(transactions, notification_store, delivery, outcome)
        case DeliveryState.QUEUED:
            notification_store.reschedule(delivery, outcome, due_at=utc_now() + backoff(delivery.attempts))
        case DeliveryState.SENDING:  # the mail may have been accepted: retry only after a whole lease
            notification_store.reschedule(delivery, outcome, due_at=utc_now() + LEASE)
        case DeliveryState.HELD:
            notification_store.reschedule(delivery, outcome, due_at=outcome.due_at or utc_now())
        case _:
            notification_store.finish(delivery, outcome, at=utc_now())


def _finish(
    transactions: Transactions, notification_store: NotificationStore, delivery: Delivery, outcome: DeliveryOutcome
) -> None:
    """Publish the end of a delivery once, then store it in the history."""
    ended = DeliveryResult(
        delivery_id=delivery.id, state=outcome.state.value, reason=outcome.reason, ended_at=utc_now()
    )
    # The attempt may have been started by the sweeper. Set the notified event as the cause, not the sweeper's run.
    with bind_context(**delivery.cause), transactions.begin() as session:
        event = delivery.result_event(outcome, ended.ended_at)
        NotificationSequence.record_result(session, delivery.user_id, ended, event)
    notification_store.finish(delivery, outcome, at=ended.ended_at)
    log.info("delivery ended", delivery_id=delivery.id, state=outcome.state.value, reason=outcome.reason)
