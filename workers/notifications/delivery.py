"""Send deliveries by e-mail and push.

A delivery whose outcome is known is sent once. If the outcome is unknown, the same message is sent again.
"""

import time
from datetime import timedelta
from uuid import UUID

import settings
from core.bus.outbox import record
from core.db import utc_now
from core.log import bind_context, get_logger
from models.commands import DeliverEmail, DeliverPush
from models.notifications import (
    EMAIL,
    PUSH,
    Contact,
    Delivery,
    DeliveryOutcome,
    DeliveryResult,
    DeliveryState,
    Device,
    NotificationSequence,
    Suppression,
)
from workers import job, task
from workers.runtime.dependencies import EnqueueAfterCommit
from workers.runtime.execution import Transactions

from .addresses import Mailbox
from .delivery_policy import delivery_blocker
from .email import build_message, send_email
from .mime import MalformedMail
from .notification_store import NotificationStore
from .preferences import PreferenceStore
from .push import Push, PushResult, build_payload
from .reminders import is_still_applicable
from .smtp import Mailer

log = get_logger(__name__)

# Longer than any SMTP session: the worker of a delivery that is `sending` for longer has died.
LEASE = timedelta(seconds=settings.EMAIL_LEASE_SECONDS)
INITIAL_BACKOFF, MAX_BACKOFF = timedelta(seconds=15), timedelta(hours=1)
MAX_ATTEMPTS = 80  # with these waits, about three days
MAX_PUSH_ATTEMPTS = 8  # about half an hour; a later push is of no use, as the note is in the feed
SWEEP_GRACE = timedelta(seconds=5)  # leaves time for the task that the handler enqueued
PRUNE_BATCH_SIZE = 1000
PRUNE_TIME_BUDGET_SECONDS = 60  # shorter than a job's lease; the next run continues
SWEEP_BATCH_SIZE = 100  # a run; the tasks share a queue with events and must not fill it while a mail server is down

WELCOME = "welcome"  # the only mail sent to unverified addresses: it contains no text written by a user

COMMAND_BY_CHANNEL = {EMAIL: DeliverEmail, PUSH: DeliverPush}


@task
def deliver_email(
    transactions: Transactions,
    notification_store: NotificationStore,
    preference_store: PreferenceStore,
    mailer: Mailer,
    *,
    delivery_id: UUID,
) -> None:
    """Send a due e-mail unless it is suppressed, not allowed or not deliverable. A concurrent duplicate does nothing.

    If the worker dies after the server accepted the mail and before the outcome is stored, the mail is sent again
    after LEASE with the same Message-ID.
    """
    if (delivery := _claim(transactions, notification_store, delivery_id)) is None:
        return
    with transactions.begin() as session:
        contact = session.get(Contact, delivery.user_id)
        still_applies = contact is None or is_still_applicable(session, delivery, contact)
        suppressed = Suppression.find_reason(session, contact.email) if contact and contact.email else None
    if contact is None or not contact.email:
        outcome = DeliveryOutcome(DeliveryState.SKIPPED, "no_address")
    elif (to := Mailbox.parse(contact.email)) is None:
        outcome = DeliveryOutcome(DeliveryState.FAILED, "address_invalid")
    elif not (contact.email_verified or delivery.template == WELCOME):
        outcome = DeliveryOutcome(DeliveryState.SKIPPED, "email_unverified")
    elif suppressed:
        outcome = DeliveryOutcome(DeliveryState.SUPPRESSED, suppressed)
    elif blocker := delivery_blocker(
        delivery,
        contact,
        preference_store.get(delivery.user_id),
        still_applies=still_applies,
        at=utc_now(),
        sent_since=notification_store.sent_since,
    ):
        outcome = blocker
    elif delivery.attempts > MAX_ATTEMPTS:
        outcome = DeliveryOutcome(DeliveryState.FAILED, "attempts_exhausted")
    else:
        outcome = _build_and_send(mailer, delivery, contact, to)
    _apply_outcome(transactions, notification_store, delivery, outcome)


def _build_and_send(mailer: Mailer, delivery: Delivery, contact: Contact, to: Mailbox) -> DeliveryOutcome:
    try:
        mail = build_message(delivery, contact, to)
    except MalformedMail:
        log.exception("malformed mail not sent", delivery_id=delivery.id)
        return DeliveryOutcome(DeliveryState.FAILED, "malformed")
    return send_email(mailer, mail)


@task
def deliver_push(
    transactions: Transactions,
    notification_store: NotificationStore,
    preference_store: PreferenceStore,
    push: Push,
    *,
    delivery_id: UUID,
) -> None:
    """Send a due push message to all devices of its user; each device succeeds or fails independently.

    Devices that no longer exist are deleted. A retry sends only to devices that have not received the message.
    """
    if (delivery := _claim(transactions, notification_store, delivery_id)) is None:
        return
    with transactions.begin() as session:
        contact = session.get(Contact, delivery.user_id)
        still_applies = contact is None or is_still_applicable(session, delivery, contact)
        devices = [
            each for each in Device.list_for_user(session, delivery.user_id) if str(each.id) not in delivery.reached
        ]
    if contact is None or not (devices or delivery.reached):
        outcome = DeliveryOutcome(DeliveryState.SKIPPED, "no_device")
    elif blocker := delivery_blocker(
        delivery,
        contact,
        preference_store.get(delivery.user_id),
        still_applies=still_applies,
        at=utc_now(),
        sent_since=notification_store.sent_since,
    ):
        outcome = blocker
    else:
        message = build_payload(delivery, contact)
        results = {device.id: push(device, message) for device in devices}
        outcome = _apply_push_results(transactions, notification_store, delivery, results)
    _apply_outcome(transactions, notification_store, delivery, outcome)


@job(every_seconds=15)
def sweep_deliveries(notification_store: NotificationStore, enqueue_after_commit: EnqueueAfterCommit) -> None:
    """Enqueue due deliveries: retries, and deliveries whose task was lost or whose worker died."""
    for delivery_id, channel in notification_store.due(before=utc_now() - SWEEP_GRACE, limit=SWEEP_BATCH_SIZE):
        enqueue_after_commit(COMMAND_BY_CHANNEL[channel](delivery_id=delivery_id))


@job(every_seconds=3600)
def prune_notifications(notification_store: NotificationStore) -> None:
    """Delete notes and ended deliveries that are older than NOTIFICATIONS_RETENTION_DAYS."""
    before, deadline = (
        utc_now() - timedelta(days=settings.NOTIFICATIONS_RETENTION_DAYS),
        time.monotonic() + PRUNE_TIME_BUDGET_SECONDS,
    )
    deleted, count = 0, PRUNE_BATCH_SIZE
    while count == PRUNE_BATCH_SIZE and time.monotonic() < deadline:
        count = notification_store.prune(before=before, limit=PRUNE_BATCH_SIZE)
        deleted += count
    if deleted:
        log.info("pruned", collection="notifications", documents=deleted)


def backoff(attempts: int) -> timedelta:
    """Return the backoff after ``attempts`` attempts: 15 s, 30 s, 1 min … 1 h."""
    doublings = min(attempts - 1, 16)  # a timedelta would overflow at 2**80
    return min(INITIAL_BACKOFF * (1 << doublings), MAX_BACKOFF)


def _apply_push_results(
    transactions: Transactions,
    notification_store: NotificationStore,
    delivery: Delivery,
    results: dict[UUID, PushResult],
) -> DeliveryOutcome:
    """Store the answers of the devices, delete unregistered devices, and return the outcome of the delivery."""
    if unregistered := [device_id for device_id, result in results.items() if result is PushResult.UNREGISTERED]:
        with transactions.begin() as session:
            Device.delete(session, *unregistered)
    accepted = [str(device_id) for device_id, result in results.items() if result is PushResult.ACCEPTED]
    reached = [*delivery.reached, *accepted]
    if PushResult.RETRY in results.values() and delivery.attempts < MAX_PUSH_ATTEMPTS:
        notification_store.mark_devices_reached(delivery, reached)
        return DeliveryOutcome(DeliveryState.QUEUED, "not_accepted")
    if reached:
        return DeliveryOutcome(DeliveryState.SENT)
    return DeliveryOutcome(DeliveryState.FAILED, "unregistered" if unregistered else "not_accepted")


def _claim(transactions: Transactions, notification_store: NotificationStore, delivery_id: UUID) -> Delivery | None:
    """Claim a delivery; return None if it is not due, or if it has ended already.

    A crash between the commit and the write to MongoDB leaves an ended delivery open in the history; it is closed here.
    """
    delivery = notification_store.claim(delivery_id, at=utc_now(), until=utc_now() + LEASE)
    if delivery is None:
        return None
    with transactions.begin() as session:
        result = session.get(DeliveryResult, delivery_id)
    if result:
        notification_store.finish(
            delivery, DeliveryOutcome(DeliveryState(result.state), result.reason), at=result.ended_at
        )
        return None
    return delivery


def _apply_outcome(
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
        if ended.insert_once(session):
            recipient = NotificationSequence.get_or_create_for_update(session, delivery.user_id)
            record(session, recipient, delivery.result_event(outcome, ended.ended_at))
    notification_store.finish(delivery, outcome, at=ended.ended_at)
    log.info("delivery ended", delivery_id=delivery.id, state=outcome.state.value, reason=outcome.reason)
