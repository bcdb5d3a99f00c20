"""Event handlers that notify users by the rule of each event type (notification_rules.py).

models/events/routes.py names the handlers; the inbox stores their names.
"""

from uuid import UUID, uuid5

import msgspec
from sqlalchemy.orm import Session

from core.db import utc_now
from core.log import correlation_ids
from core.messaging.event_messages import ReceivedEvent
from models.events import (
    AccessEnding,
    CertificateIssued,
    CertificateReinstated,
    CertificateRevoked,
    CourseCompleted,
    DisputeClosed,
    DisputeOpened,
    EnrollmentCreated,
    LessonCompleted,
    LessonUnlocked,
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
from models.notification_data import event_data
from models.notifications import Contact, Notification
from workers import batch_handler, task

from . import contacts, reminder_tracking
from .dispatcher import NotificationDispatcher
from .notification_rules import RULES

UserEvent = (
    UserCreated
    | EnrollmentCreated
    | AccessEnding
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
    | LessonUnlocked
    | CourseCompleted
    | CertificateIssued
    | CertificateRevoked
    | CertificateReinstated
)


@task
def send_welcome(session: Session, dispatcher: NotificationDispatcher, *, event: UserCreated, event_id: UUID) -> None:
    """Create the contact of a new user and send the welcome notification."""
    contacts.create_contact(session, event=event)
    _notify(session, dispatcher, event, event_id)


@batch_handler
def send_enrollment_confirmation(
    session: Session, dispatcher: NotificationDispatcher, *, events: list[ReceivedEvent]
) -> None:
    """Notify learners of new enrollments. Raises ProjectionNotReady."""
    enrolled = [(each, msgspec.convert(each.event, EnrollmentCreated)) for each in events]
    contacts = _lock_contacts(session, {event.user_id for _, event in enrolled})
    enrolled = [(each, event) for each, event in enrolled if event.user_id in contacts]
    if not enrolled:
        return
    reminder_tracking.track_enrollments(session, contacts, [event for _, event in enrolled])
    # A subscription opens many courses; SUBSCRIPTION_STARTED is notified.
    notified = [(each, event) for each, event in enrolled if event.source != "subscription"]
    notifications = [
        (_notification(event, each.event_id, each.cause), contacts[event.user_id]) for each, event in notified
    ]
    dispatcher.send_all(session, notifications, RULES[EnrollmentCreated].channels)


@task
def send_access_ending(
    session: Session, dispatcher: NotificationDispatcher, *, event: AccessEnding, event_id: UUID
) -> None:
    """Notify a learner that the access to a course ends soon. Raises ProjectionNotReady."""
    _notify(session, dispatcher, event, event_id)


@task
def send_receipt(
    session: Session, dispatcher: NotificationDispatcher, *, event: PaymentSucceeded, event_id: UUID
) -> None:
    """Send the receipt of a payment. Raises ProjectionNotReady."""
    _notify(session, dispatcher, event, event_id)


@task
def send_payment_failed(
    session: Session, dispatcher: NotificationDispatcher, *, event: PaymentFailed, event_id: UUID
) -> None:
    """Notify a buyer that a payment failed. Raises ProjectionNotReady."""
    _notify(session, dispatcher, event, event_id)


@task
def send_refund_confirmation(
    session: Session, dispatcher: NotificationDispatcher, *, event: PaymentRefunded, event_id: UUID
) -> None:
    """Notify a buyer of a refund. Raises ProjectionNotReady."""
    _notify(session, dispatcher, event, event_id)


@task
def send_refund_reversed(
    session: Session, dispatcher: NotificationDispatcher, *, event: RefundReversed, event_id: UUID
) -> None:
    """Notify a buyer that the bank returned a refund. Raises ProjectionNotReady."""
    _notify(session, dispatcher, event, event_id)


@task
def send_dispute_opened(
    session: Session, dispatcher: NotificationDispatcher, *, event: DisputeOpened, event_id: UUID
) -> None:
    """Notify a buyer that access is suspended while a payment is disputed. Raises ProjectionNotReady."""
    _notify(session, dispatcher, event, event_id)


@task
def send_dispute_closed(
    session: Session, dispatcher: NotificationDispatcher, *, event: DisputeClosed, event_id: UUID
) -> None:
    """Notify a buyer of the outcome of a dispute. Raises ProjectionNotReady."""
    _notify(session, dispatcher, event, event_id)


@task
def send_subscription_started(
    session: Session, dispatcher: NotificationDispatcher, *, event: SubscriptionStarted, event_id: UUID
) -> None:
    """Notify a subscriber that the subscription or its trial started. Raises ProjectionNotReady."""
    _notify(session, dispatcher, event, event_id)


@task
def send_past_due(
    session: Session, dispatcher: NotificationDispatcher, *, event: SubscriptionPastDue, event_id: UUID
) -> None:
    """Notify a subscriber that the renewal could not be charged. Raises ProjectionNotReady."""
    _notify(session, dispatcher, event, event_id)


@task
def send_trial_ending(
    session: Session, dispatcher: NotificationDispatcher, *, event: SubscriptionTrialEnding, event_id: UUID
) -> None:
    """Notify a subscriber that the trial ends soon. Raises ProjectionNotReady."""
    _notify(session, dispatcher, event, event_id)


@task
def send_cancellation_confirmation(
    session: Session, dispatcher: NotificationDispatcher, *, event: SubscriptionCanceled, event_id: UUID
) -> None:
    """Confirm to a subscriber that the subscription is canceled. Raises ProjectionNotReady."""
    _notify(session, dispatcher, event, event_id)


@task
def send_subscription_ended(
    session: Session, dispatcher: NotificationDispatcher, *, event: SubscriptionExpired, event_id: UUID
) -> None:
    """Notify a subscriber that the subscription has ended. Raises ProjectionNotReady."""
    _notify(session, dispatcher, event, event_id)


@task
def send_subscription_restored(
    session: Session, dispatcher: NotificationDispatcher, *, event: SubscriptionRestored, event_id: UUID
) -> None:
    """Notify a subscriber that the subscription is active again. Raises ProjectionNotReady."""
    _notify(session, dispatcher, event, event_id)


@batch_handler
def send_lesson_completed(session: Session, dispatcher: NotificationDispatcher, *, events: list[ReceivedEvent]) -> None:
    """Notify learners of completed lessons. Raises ProjectionNotReady."""
    completed = [(each, msgspec.convert(each.event, LessonCompleted)) for each in events]
    contacts = _lock_contacts(session, {event.user_id for _, event in completed})
    completed = [(each, event) for each, event in completed if event.user_id in contacts]
    if not completed:
        return
    reminder_tracking.track_lessons(session, contacts, [event for _, event in completed])
    notifications = [
        (_notification(event, each.event_id, each.cause), contacts[event.user_id]) for each, event in completed
    ]
    dispatcher.send_all(session, notifications, RULES[LessonCompleted].channels)


@task
def send_lesson_unlocked(session: Session, dispatcher: NotificationDispatcher, *, event: LessonUnlocked) -> None:
    """Notify a learner of lessons that have opened: once for each course and day (UTC), however many open.

    A lesson that another one still locks is not notified. Raises ProjectionNotReady.
    """
    if event.available:
        of_the_day = uuid5(event.course_id, f"unlocked:{event.user_id}:{event.unlocked_at.date()}")
        _notify(session, dispatcher, event, of_the_day)


@task
def send_course_completed(
    session: Session, dispatcher: NotificationDispatcher, *, event: CourseCompleted, event_id: UUID
) -> None:
    """Notify a learner of a completed course. Raises ProjectionNotReady."""
    _notify(session, dispatcher, event, event_id)


@task
def send_certificate(
    session: Session, dispatcher: NotificationDispatcher, *, event: CertificateIssued, event_id: UUID
) -> None:
    """Notify a learner of a new certificate. Raises ProjectionNotReady."""
    _notify(session, dispatcher, event, event_id)


@task
def send_certificate_revoked(
    session: Session, dispatcher: NotificationDispatcher, *, event: CertificateRevoked, event_id: UUID
) -> None:
    """Notify a learner that a certificate is no longer valid. Raises ProjectionNotReady."""
    _notify(session, dispatcher, event, event_id)


@task
def send_certificate_reinstated(
    session: Session, dispatcher: NotificationDispatcher, *, event: CertificateReinstated, event_id: UUID
) -> None:
    """Notify a learner that a revoked certificate is valid again. Raises ProjectionNotReady."""
    _notify(session, dispatcher, event, event_id)


def _notify(session: Session, dispatcher: NotificationDispatcher, event: UserEvent, event_id: UUID) -> None:
    if (contact := _get_contact_and_track_reminders(session, event)) is None:
        return
    notification = _notification(event, event_id, correlation_ids())
    dispatcher.send(session, notification, contact, RULES[type(event)].channels)


def _notification(event: UserEvent, event_id: UUID, cause: dict[str, str]) -> Notification:
    rule = RULES[type(event)]
    return Notification(
        event_id=event_id,
        user_id=event.user_id,
        category=rule.category,
        template=rule.template,
        mandatory=rule.mandatory,
        data=event_data(event),
        created_at=utc_now(),
        cause=cause,
    )


def _lock_contacts(session: Session, user_ids: set[UUID]) -> dict[UUID, Contact]:
    """Lock and return the contacts of users who are not erased, by user id. Raises ProjectionNotReady."""
    contacts = Contact.list_for_update(session, user_ids)
    return {user_id: contact for user_id, contact in contacts.items() if not contact.erased_at}


def _get_contact_and_track_reminders(session: Session, event: UserEvent) -> Contact | None:
    """Lock and return the contact of the event's user and update the user's waits. Returns None for erased users."""
    contact = Contact.get_for_update(session, event.user_id)
    if contact.erased_at:
        return None
    reminder_tracking.track_event(session, contact, event)
    return contact
