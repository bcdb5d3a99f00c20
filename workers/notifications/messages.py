"""From an event to what is to be told of it, by the rule of its kind."""

from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy.orm import Session

from models.base import now
from models.events import (
    CourseCompleted,
    EnrollmentCreated,
    LessonCompleted,
    PaymentFailed,
    PaymentRefunded,
    PaymentSucceeded,
    SubscriptionCanceled,
    SubscriptionExpired,
    SubscriptionPastDue,
    SubscriptionStarted,
    SubscriptionTrialEnding,
    UserCreated,
)
from models.notifications import Contact, Notice
from workers import task

from . import contacts, reminders
from .rules import RULES
from .sending import Desk

PersonalEvent = (
    UserCreated
    | EnrollmentCreated
    | PaymentSucceeded
    | PaymentFailed
    | PaymentRefunded
    | SubscriptionStarted
    | SubscriptionPastDue
    | SubscriptionTrialEnding
    | SubscriptionCanceled
    | SubscriptionExpired
    | LessonCompleted
    | CourseCompleted
)

# The contact knows the person better, and can be erased; a history would keep a copy.
_OF_THE_PERSON = {"user_id", "sub", "pii"}


@task
def welcome_user(session: Session, desk: Desk, *, event: UserCreated, event_id: UUID) -> None:
    """Greet a new user, who is known here from now on."""
    contacts.meet(session, event=event)
    _notify(session, desk, event, event_id)


@task
def welcome_learner(session: Session, desk: Desk, *, event: EnrollmentCreated, event_id: UUID) -> None:
    """Tell a learner that a course is open. Raises ProjectionBehind."""
    if event.source == "subscription":  # it opens many at once, and is told of itself
        _known(session, event)
    else:
        _notify(session, desk, event, event_id)


@task
def send_receipt(session: Session, desk: Desk, *, event: PaymentSucceeded, event_id: UUID) -> None:
    """Acknowledge a payment. Raises ProjectionBehind."""
    _notify(session, desk, event, event_id)


@task
def report_failed_payment(session: Session, desk: Desk, *, event: PaymentFailed, event_id: UUID) -> None:
    """Tell that a payment did not go through, and that another may. Raises ProjectionBehind."""
    _notify(session, desk, event, event_id)


@task
def report_refund(session: Session, desk: Desk, *, event: PaymentRefunded, event_id: UUID) -> None:
    """Tell that money has gone back. Raises ProjectionBehind."""
    _notify(session, desk, event, event_id)


@task
def welcome_subscriber(session: Session, desk: Desk, *, event: SubscriptionStarted, event_id: UUID) -> None:
    """Tell that a subscription has begun. Raises ProjectionBehind."""
    _notify(session, desk, event, event_id)


@task
def report_past_due(session: Session, desk: Desk, *, event: SubscriptionPastDue, event_id: UUID) -> None:
    """Tell that a renewal was not paid, and until when it may be. Raises ProjectionBehind."""
    _notify(session, desk, event, event_id)


@task
def announce_trial_end(session: Session, desk: Desk, *, event: SubscriptionTrialEnding, event_id: UUID) -> None:
    """Tell that a trial ends, and what comes then. Raises ProjectionBehind."""
    _notify(session, desk, event, event_id)


@task
def confirm_notice(session: Session, desk: Desk, *, event: SubscriptionCanceled, event_id: UUID) -> None:
    """Confirm that a subscription was given up. Raises ProjectionBehind."""
    _notify(session, desk, event, event_id)


@task
def report_subscription_end(session: Session, desk: Desk, *, event: SubscriptionExpired, event_id: UUID) -> None:
    """Tell that a subscription is over. Raises ProjectionBehind."""
    _notify(session, desk, event, event_id)


@task
def congratulate_on_lesson(session: Session, desk: Desk, *, event: LessonCompleted, event_id: UUID) -> None:
    """Congratulate on a lesson. Raises ProjectionBehind."""
    _notify(session, desk, event, event_id)


@task
def congratulate_on_course(session: Session, desk: Desk, *, event: CourseCompleted, event_id: UUID) -> None:
    """Congratulate on a whole course. Raises ProjectionBehind."""
    _notify(session, desk, event, event_id)


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
    """Whom an event is about, locked; what they may be reminded of is kept. None for someone who has gone."""
    contact = Contact.of(session, event.user_id)
    if contact.erased_at:
        return None
    reminders.follow(session, contact, event)
    return contact


def _data(event: PersonalEvent) -> dict[str, Any]:
    """The event as JSON values, for templates and for clients that lead from a note to its course or order."""
    fields: dict[str, Any] = msgspec.to_builtins(event)
    return {"event": event.type} | {name: value for name, value in fields.items() if name not in _OF_THE_PERSON}
