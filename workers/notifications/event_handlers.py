"""Event handlers that notify users by the rule of each event type."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy.orm import Session

from core.db import utc_now
from models.events import (
    CertificateIssued,
    CourseCompleted,
    DisputeClosed,
    DisputeOpened,
    EnrollmentCreated,
    LessonCompleted,
    PaymentFailed,
    PaymentRefunded,
    PaymentSucceeded,
    RefundReversed,
    SubscriptionCanceled,
    SubscriptionExpired,
    SubscriptionPastDue,
    SubscriptionRestored,
    SubscriptionStarted,
    SubscriptionTrialEnding,
    UserCreated,
)
from models.notifications import Contact, Notification
from workers import task

from . import contacts, reminder_tracking
from .dispatch import NotificationDispatcher
from .notification_rules import RULES

UserEvent = (
    UserCreated
    | EnrollmentCreated
    | PaymentSucceeded
    | PaymentFailed
    | PaymentRefunded
    | RefundReversed
    | DisputeOpened
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
_PII_FIELDS = {"user_id", "sub", "pii"}


@task
def send_welcome(session: Session, dispatcher: NotificationDispatcher, *, event: UserCreated, event_id: UUID) -> None:
    """Create the contact of a new user and send the welcome notification."""
    contacts.create_contact(session, event=event)
    _notify(session, dispatcher, event, event_id)


@task
def send_enrollment_confirmation(
    session: Session, dispatcher: NotificationDispatcher, *, event: EnrollmentCreated, event_id: UUID
) -> None:
    """Notify a learner of a new enrollment. Raises ProjectionNotReady."""
    if event.source == "subscription":  # opens many courses; SUBSCRIPTION_STARTED is notified
        _get_contact_and_track_reminders(session, event)
    else:
        _notify(session, dispatcher, event, event_id)


def _notification_handler(name: str, event_class: type[UserEvent]) -> Callable[..., None]:
    """Create the task ``name``, which notifies of events of one type by its rule.

    The task raises ProjectionNotReady.
    """

    def handle_event(session: Session, dispatcher: NotificationDispatcher, *, event: UserEvent, event_id: UUID) -> None:
        _notify(session, dispatcher, event, event_id)

    handle_event.__name__ = name
    handle_event.__annotations__["event"] = event_class  # the type that the message is decoded to
    return task(handle_event)


# Handlers that only notify. bridge/routes.py refers to these names, and the inbox stores them.
send_receipt = _notification_handler("send_receipt", PaymentSucceeded)
send_payment_failed = _notification_handler("send_payment_failed", PaymentFailed)
send_refund_confirmation = _notification_handler("send_refund_confirmation", PaymentRefunded)
send_refund_reversed = _notification_handler("send_refund_reversed", RefundReversed)
send_dispute_opened = _notification_handler("send_dispute_opened", DisputeOpened)
send_dispute_closed = _notification_handler("send_dispute_closed", DisputeClosed)
send_subscription_started = _notification_handler("send_subscription_started", SubscriptionStarted)
send_past_due = _notification_handler("send_past_due", SubscriptionPastDue)
send_trial_ending = _notification_handler("send_trial_ending", SubscriptionTrialEnding)
send_cancellation_confirmation = _notification_handler("send_cancellation_confirmation", SubscriptionCanceled)
send_subscription_ended = _notification_handler("send_subscription_ended", SubscriptionExpired)
send_subscription_restored = _notification_handler("send_subscription_restored", SubscriptionRestored)
send_lesson_completed = _notification_handler("send_lesson_completed", LessonCompleted)
send_course_completed = _notification_handler("send_course_completed", CourseCompleted)
send_certificate = _notification_handler("send_certificate", CertificateIssued)


def _notify(session: Session, dispatcher: NotificationDispatcher, event: UserEvent, event_id: UUID) -> None:
    if (contact := _get_contact_and_track_reminders(session, event)) is None:
        return
    rule = RULES[type(event)]
    notification = Notification(
        event_id=event_id,
        user_id=event.user_id,
        category=rule.category,
        template=rule.template,
        mandatory=rule.mandatory,
        data=_template_data(event),
        created_at=utc_now(),
    )
    dispatcher.send(session, notification, contact, rule.channels)


def _get_contact_and_track_reminders(session: Session, event: UserEvent) -> Contact | None:
    """Lock and return the contact of the event's user and update the user's waits. Returns None for erased users."""
    contact = Contact.get_for_update(session, event.user_id)
    if contact.erased_at:
        return None
    reminder_tracking.track_event(session, event)
    return contact


def _template_data(event: UserEvent) -> dict[str, Any]:
    """Return the event as JSON values, for templates and for clients that link a note to its course or order."""
    fields: dict[str, Any] = msgspec.to_builtins(event)
    return {"event": event.type} | {name: value for name, value in fields.items() if name not in _PII_FIELDS}
