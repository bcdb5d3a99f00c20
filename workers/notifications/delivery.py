"""Send deliveries by e-mail and push.

A delivery whose outcome is known is sent once. If the outcome is unknown, the same message is sent again.
"""

import time
from datetime import timedelta
from uuid import UUID

import settings
from models.base import now
from models.log import bound, get_logger
from models.notifications import (
    EMAIL,
    PUSH,
    Contact,
    Delivery,
    Device,
    EndedDelivery,
    Outcome,
    Recipient,
    State,
    Suppression,
)
from models.outbox import record
from workers import job, task
from workers._delivery import Sessions
from workers.resources import Poke

from .addresses import Mailbox
from .history import History
from .mail import compose, hand_over
from .mime import MalformedMail
from .objections import objection
from .preferences import Choices
from .push import Answer, Push, message_of
from .reminders import still_holds
from .smtp import Mailer

log = get_logger(__name__)

# Longer than any SMTP session: the worker of a delivery that is `sending` for longer has died.
LEASE = timedelta(seconds=settings.EMAIL_LEASE_SECONDS)
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=15), timedelta(hours=1)
MAX_ATTEMPTS = 80  # with these waits, about three days
MAX_PUSH_ATTEMPTS = 8  # about half an hour; a later push is of no use, as the note is in the feed
SWEEP_GRACE = timedelta(seconds=5)  # leaves time for the task that the handler enqueued
PRUNED_AT_ONCE = 1000
PRUNING_SECONDS = 60  # shorter than a job's lease; the next run continues
SWEEP_LIMIT = 100  # a run; the tasks share a queue with events and must not fill it while a mail server is down

WELCOME = "welcome"  # the only mail sent to unverified addresses: it contains no text written by a user

DELIVER = {EMAIL: "notifications.deliver_email", PUSH: "notifications.deliver_push"}  # sending task per channel


@task
def deliver_email(sessions: Sessions, history: History, choices: Choices, mailer: Mailer, *, delivery_id: UUID) -> None:
    """Send a due e-mail unless it is suppressed, not allowed or not deliverable. A concurrent duplicate does nothing.

    If the worker dies after the server accepted the mail and before the outcome is stored, the mail is sent again
    after LEASE with the same Message-ID.
    """
    if (delivery := _claim(sessions, history, delivery_id)) is None:
        return
    with sessions.begin() as session:
        contact = session.get(Contact, delivery.user_id)
        still_so = contact is None or still_holds(session, delivery, contact)
        suppressed = Suppression.reason_of(session, contact.email) if contact and contact.email else None
    if contact is None or not contact.email:
        outcome = Outcome(State.SKIPPED, "no_address")
    elif (to := Mailbox.parse(contact.email)) is None:
        outcome = Outcome(State.FAILED, "address_invalid")
    elif not (contact.email_verified or delivery.template == WELCOME):
        outcome = Outcome(State.SKIPPED, "email_unverified")
    elif suppressed:
        outcome = Outcome(State.SUPPRESSED, suppressed)
    elif against := objection(
        delivery, contact, choices.of(delivery.user_id), still_so=still_so, at=now(), sent_since=history.sent_since
    ):
        outcome = against
    elif delivery.attempts > MAX_ATTEMPTS:
        outcome = Outcome(State.FAILED, "given_up")
    else:
        outcome = _sent(mailer, delivery, contact, to)
    _settle(sessions, history, delivery, outcome)


def _sent(mailer: Mailer, delivery: Delivery, contact: Contact, to: Mailbox) -> Outcome:
    try:
        mail = compose(delivery, contact, to)
    except MalformedMail:
        log.exception("mail not sent: it is malformed", delivery_id=delivery.id)
        return Outcome(State.FAILED, "malformed")
    return hand_over(mailer, mail)


@task
def deliver_push(sessions: Sessions, history: History, choices: Choices, push: Push, *, delivery_id: UUID) -> None:
    """Send a due push message to all devices of its user; each device succeeds or fails independently.

    Devices that no longer exist are deleted. A retry sends only to devices that have not received the message.
    """
    if (delivery := _claim(sessions, history, delivery_id)) is None:
        return
    with sessions.begin() as session:
        contact = session.get(Contact, delivery.user_id)
        still_so = contact is None or still_holds(session, delivery, contact)
        devices = [each for each in Device.of(session, delivery.user_id) if str(each.id) not in delivery.reached]
    if contact is None or not (devices or delivery.reached):
        outcome = Outcome(State.SKIPPED, "no_device")
    elif against := objection(
        delivery, contact, choices.of(delivery.user_id), still_so=still_so, at=now(), sent_since=history.sent_since
    ):
        outcome = against
    else:
        message = message_of(delivery, contact)
        answers = {device.id: push(device, message) for device in devices}
        outcome = _take(sessions, history, delivery, answers)
    _settle(sessions, history, delivery, outcome)


@job(every_seconds=15)
def sweep_deliveries(history: History, poke: Poke) -> None:
    """Enqueue due deliveries: retries, and deliveries whose task was lost or whose worker died."""
    for delivery_id, channel in history.due(before=now() - SWEEP_GRACE, limit=SWEEP_LIMIT):
        poke(DELIVER[channel], delivery_id=delivery_id)


@job(every_seconds=3600)
def prune_notifications(history: History) -> None:
    """Delete notes and ended deliveries that are older than NOTIFICATIONS_KEPT_DAYS."""
    before, deadline = now() - timedelta(days=settings.NOTIFICATIONS_KEPT_DAYS), time.monotonic() + PRUNING_SECONDS
    deleted, count = 0, PRUNED_AT_ONCE
    while count == PRUNED_AT_ONCE and time.monotonic() < deadline:
        count = history.prune(before=before, limit=PRUNED_AT_ONCE)
        deleted += count
    if deleted:
        log.info("pruned", collection="notifications", documents=deleted)


def wait_after(attempts: int) -> timedelta:
    """Return the backoff after ``attempts`` attempts: 15 s, 30 s, 1 min … 1 h."""
    doublings = min(attempts - 1, 16)  # a timedelta would overflow at 2**80
    return min(FIRST_WAIT * (1 << doublings), LONGEST_WAIT)


def _take(sessions: Sessions, history: History, delivery: Delivery, answers: dict[UUID, Answer]) -> Outcome:
    """Store the answers of the devices, delete unregistered devices, and return the outcome of the delivery."""
    if gone := [device_id for device_id, answer in answers.items() if answer is Answer.GONE]:
        with sessions.begin() as session:
            Device.forget(session, *gone)
    taken = [str(device_id) for device_id, answer in answers.items() if answer is Answer.TAKEN]
    reached = [*delivery.reached, *taken]
    if Answer.LATER in answers.values() and delivery.attempts < MAX_PUSH_ATTEMPTS:
        history.reach(delivery, reached)
        return Outcome(State.QUEUED, "not_taken")
    if reached:
        return Outcome(State.SENT)
    return Outcome(State.FAILED, "unregistered" if gone else "not_taken")


def _claim(sessions: Sessions, history: History, delivery_id: UUID) -> Delivery | None:
    """Claim a delivery; return None if it is not due, or if it has ended already.

    A crash between the commit and the write to MongoDB leaves an ended delivery open in the history; it is closed here.
    """
    delivery = history.claim(delivery_id, at=now(), until=now() + LEASE)
    if delivery is None:
        return None
    with sessions.begin() as session:
        told = session.get(EndedDelivery, delivery_id)
    if told:
        history.end(delivery, Outcome(State(told.state), told.reason), at=told.ended_at)
        return None
    return delivery


def _settle(sessions: Sessions, history: History, delivery: Delivery, outcome: Outcome) -> None:
    match outcome.state:
        case State.SENT | State.FAILED:
            _end(sessions, history, delivery, outcome)
        case State.QUEUED:
            history.put_back(delivery, outcome, due_at=now() + wait_after(delivery.attempts))
        case State.SENDING:  # the mail may have been accepted: retry only after a whole lease
            history.put_back(delivery, outcome, due_at=now() + LEASE)
        case State.HELD:
            history.put_back(delivery, outcome, due_at=outcome.due_at or now())
        case _:
            history.end(delivery, outcome, at=now())


def _end(sessions: Sessions, history: History, delivery: Delivery, outcome: Outcome) -> None:
    """Publish the end of a delivery once, then store it in the history."""
    ended = EndedDelivery(delivery_id=delivery.id, state=outcome.state.value, reason=outcome.reason, ended_at=now())
    # The attempt may have been started by the sweeper. Set the notified event as the cause, not the sweeper's run.
    with bound(**delivery.cause), sessions.begin() as session:
        if ended.first(session):
            recipient = Recipient.locked(session, delivery.user_id)
            record(session, recipient, delivery.ended(outcome, ended.ended_at))
    history.end(delivery, outcome, at=ended.ended_at)
    log.info("delivery ended", delivery_id=delivery.id, state=outcome.state.value, reason=outcome.reason)
