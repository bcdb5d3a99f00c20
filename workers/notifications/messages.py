"""Event handlers that notify users by the rule of each event type."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy.orm import Session

from models.base import now
from models.events import (
    CertificateIssued,
    CourseCompleted,
    DisputeClosed,
    EnrollmentCreated,
    LessonCompleted,
    PaymentDisputed,
    PaymentFailed,
    PaymentRefunded,
    PaymentSucceeded,
    RefundReturned,
    SubscriptionCanceled,
    SubscriptionExpired,
    SubscriptionPastDue,
    SubscriptionRestored,
    SubscriptionStarted,
    SubscriptionTrialEnding,
    UserCreated,
)
from models.notifications import Contact, Notice
from workers import task

from . import contacts, waiting
from .rules import RULES
from .sending import Desk

PersonalEvent = (
    UserCreated
    | EnrollmentCreated
    | PaymentSucceeded
    | PaymentFailed
    | PaymentRefunded
    | RefundReturned
    | PaymentDisputed
    | DisputeClosed
    | SubscriptionStarted
    | SubscriptionPastDue
    | SubscriptionTrialEnding
    | SubscriptionCanceled
    | SubscriptionExpired
    | SubscriptionRestored
    | LessonCompleted
    | CourseCompleted
    | CertificateIssued
)

# Personal data is not copied into the history: the contact holds it, is more current and is erased with the user.
_OF_THE_PERSON = {"user_id", "sub", "pii"}


@task
def welcome_user(session: Session, desk: Desk, *, event: UserCreated, event_id: UUID) -> None:
    """Create the contact of a new user and send the welcome notification."""
    contacts.meet(session, event=event)
    _notify(session, desk, event, event_id)


@task
def welcome_learner(session: Session, desk: Desk, *, event: EnrollmentCreated, event_id: UUID) -> None:
    """Notify a learner of a new enrollment. Raises ProjectionBehind."""
    if event.source == "subscription":  # opens many courses; SUBSCRIPTION_STARTED is notified
        _known(session, event)
    else:
        _notify(session, desk, event, event_id)


def _telling(name: str, event_class: type[PersonalEvent]) -> Callable[..., None]:
    """Create the task ``name``, which notifies of events of one type by its rule. The task raises ProjectionBehind."""

    def tell(session: Session, desk: Desk, *, event: PersonalEvent, event_id: UUID) -> None:
        _notify(session, desk, event, event_id)

    tell.__name__ = name
    tell.__annotations__["event"] = event_class  # the type that the message is decoded to
    return task(tell)


# Handlers that only notify. bridge/routes.py refers to these names, and the inbox stores them.
send_receipt = _telling("send_receipt", PaymentSucceeded)
report_failed_payment = _telling("report_failed_payment", PaymentFailed)
report_refund = _telling("report_refund", PaymentRefunded)
report_returned_refund = _telling("report_returned_refund", RefundReturned)
report_dispute = _telling("report_dispute", PaymentDisputed)
report_dispute_end = _telling("report_dispute_end", DisputeClosed)
welcome_subscriber = _telling("welcome_subscriber", SubscriptionStarted)
report_past_due = _telling("report_past_due", SubscriptionPastDue)
announce_trial_end = _telling("announce_trial_end", SubscriptionTrialEnding)
confirm_notice = _telling("confirm_notice", SubscriptionCanceled)
report_subscription_end = _telling("report_subscription_end", SubscriptionExpired)
report_restored_subscription = _telling("report_restored_subscription", SubscriptionRestored)
congratulate_on_lesson = _telling("congratulate_on_lesson", LessonCompleted)
congratulate_on_course = _telling("congratulate_on_course", CourseCompleted)
send_certificate = _telling("send_certificate", CertificateIssued)


def _notify(session: Session, desk: Desk, event: PersonalEvent, event_id: UUID) -> None:
    if (contact := _known(session, event)) is None:
        return
    rule = RULES[type(event)]
    notice = Notice(
        event_id=event_id,
        user_id=event.user_id,
        category=rule.category,
        template=rule.template,
        mandatory=rule.mandatory,
        data=_data(event),
        created_at=now(),
    )
    desk.send_out(session, notice, contact, rule.channels)


def _known(session: Session, event: PersonalEvent) -> Contact | None:
    """Lock and return the contact of the event's user and update the user's waits. Returns None for erased users."""
    contact = Contact.of(session, event.user_id)
    if contact.erased_at:
        return None
    waiting.follow(session, event)
    return contact


def _data(event: PersonalEvent) -> dict[str, Any]:
    """Return the event as JSON values, for templates and for clients that link a note to its course or order."""
    fields: dict[str, Any] = msgspec.to_builtins(event)
    return {"event": event.type} | {name: value for name, value in fields.items() if name not in _OF_THE_PERSON}
