"""Deliveries: sent once where that can be known, and again, as the same message, where it cannot."""

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

# Above the longest SMTP dialogue: a delivery that is `sending` for longer has lost its worker.
LEASE = timedelta(seconds=settings.EMAIL_LEASE_SECONDS)
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=15), timedelta(hours=1)
MAX_ATTEMPTS = 80  # with these waits, three days of a mail server that is down
MAX_PUSH_ATTEMPTS = 8  # half an hour: who is told later has seen it in the feed
SWEEP_GRACE = timedelta(seconds=5)  # the poke of the handler comes first
PRUNED_AT_ONCE = 1000
PRUNING_SECONDS = 60  # below a job's lease; the next run goes on
SWEEP_LIMIT = 100  # so that what waits for a mail server does not fill the queue that events come by

WELCOME = "welcome"  # the one mail to an address that is not verified: it holds no text of anybody

DELIVER = {EMAIL: "notifications.deliver_email", PUSH: "notifications.deliver_push"}  # by channel, the task that sends


@task
def deliver_email(sessions: Sessions, history: History, choices: Choices, mailer: Mailer, *, delivery_id: UUID) -> None:
    """Send an e-mail that is due, unless something is against it. Started twice, it is sent by one of the two.

    Cut off between the server's answer and our note of it, it is sent again after LEASE, with the same Message-ID.
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
    """Send a push message that is due to all devices of its user; what one of them answers is nothing to the others.

    A device that is gone is forgotten. One that cannot be reached now is tried again, and the others are not.
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
    """Start the deliveries that nobody took up: their poke was lost, their wait is over, or their worker died."""
    for delivery_id, channel in history.due(before=now() - SWEEP_GRACE, limit=SWEEP_LIMIT):
        poke(DELIVER[channel], delivery_id=delivery_id)


@job(every_seconds=3600)
def prune_notifications(history: History) -> None:
    """Delete notes and ended deliveries that have been kept for NOTIFICATIONS_KEPT_DAYS."""
    before, deadline = now() - timedelta(days=settings.NOTIFICATIONS_KEPT_DAYS), time.monotonic() + PRUNING_SECONDS
    deleted, count = 0, PRUNED_AT_ONCE
    while count == PRUNED_AT_ONCE and time.monotonic() < deadline:
        count = history.prune(before=before, limit=PRUNED_AT_ONCE)
        deleted += count
    if deleted:
        log.info("pruned", collection="notifications", documents=deleted)


def wait_after(attempts: int) -> timedelta:
    """How long to wait after so many attempts: 15 s, 30 s, 1 min … 1 h."""
    doublings = min(attempts - 1, 16)  # no timedelta holds 2**80 of them
    return min(FIRST_WAIT * (1 << doublings), LONGEST_WAIT)


def _take(sessions: Sessions, history: History, delivery: Delivery, answers: dict[UUID, Answer]) -> Outcome:
    """Keep what the devices answered; what it means for the delivery."""
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
    """Take up a delivery that is due; None when it is not, or when it has ended and only the history did not know."""
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
        case State.SENDING:  # perhaps it was taken: only a long wait makes a second copy unlikely
            history.put_back(delivery, outcome, due_at=now() + LEASE)
        case State.HELD:
            history.put_back(delivery, outcome, due_at=outcome.due_at or now())
        case _:
            history.end(delivery, outcome, at=now())


def _end(sessions: Sessions, history: History, delivery: Delivery, outcome: Outcome) -> None:
    """Tell the end of a delivery, once, and then write it into the history."""
    ended = EndedDelivery(delivery_id=delivery.id, state=outcome.state.value, reason=outcome.reason, ended_at=now())
    # A sweeper may have started this attempt: the end follows from the event that the notification is about.
    with bound(**delivery.cause), sessions.begin() as session:
        if ended.first(session):
            recipient = Recipient.locked(session, delivery.user_id)
            record(session, recipient, delivery.ended(outcome, ended.ended_at))
    history.end(delivery, outcome, at=ended.ended_at)
    log.info("delivery ended", delivery_id=delivery.id, state=outcome.state.value, reason=outcome.reason)
