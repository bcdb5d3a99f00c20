"""From an event to notifications: a note in the feed, and a delivery for each other channel.

MongoDB takes part in no transaction of PostgreSQL. Every write there has an id that follows from the event, so a
handler that is rolled back and run again finds what it wrote before. What it wrote is true meanwhile: the event is.
"""

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
    PaymentSucceeded,
    UserCreated,
)
from models.notifications import Contact, Notice
from workers import task
from workers.resources import Poke

from . import contacts
from .history import History
from .rules import EMAIL, IN_APP, RULES
from .wording import words

PersonalEvent = UserCreated | EnrollmentCreated | PaymentSucceeded | PaymentFailed | LessonCompleted | CourseCompleted

# The contact knows the person better, and can be erased; a history would keep a copy.
_OF_THE_PERSON = {"user_id", "sub", "pii"}


@task
def welcome_user(session: Session, history: History, poke: Poke, *, event: UserCreated, event_id: UUID) -> None:
    """Greet a new user, who is known here from now on."""
    contacts.meet(session, event=event)
    _notify(session, history, poke, event, event_id)


@task
def welcome_learner(
    session: Session, history: History, poke: Poke, *, event: EnrollmentCreated, event_id: UUID
) -> None:
    """Tell a learner that a course is open. Raises ProjectionBehind."""
    _notify(session, history, poke, event, event_id)


@task
def send_receipt(session: Session, history: History, poke: Poke, *, event: PaymentSucceeded, event_id: UUID) -> None:
    """Acknowledge a payment. Raises ProjectionBehind."""
    _notify(session, history, poke, event, event_id)


@task
def report_failed_payment(
    session: Session, history: History, poke: Poke, *, event: PaymentFailed, event_id: UUID
) -> None:
    """Tell that a payment did not go through, and that another may. Raises ProjectionBehind."""
    _notify(session, history, poke, event, event_id)


@task
def congratulate_on_lesson(
    session: Session, history: History, poke: Poke, *, event: LessonCompleted, event_id: UUID
) -> None:
    """Congratulate on a lesson. Raises ProjectionBehind."""
    _notify(session, history, poke, event, event_id)


@task
def congratulate_on_course(
    session: Session, history: History, poke: Poke, *, event: CourseCompleted, event_id: UUID
) -> None:
    """Congratulate on a whole course. Raises ProjectionBehind."""
    _notify(session, history, poke, event, event_id)


def _notify(session: Session, history: History, poke: Poke, event: PersonalEvent, event_id: UUID) -> None:
    rule = RULES[type(event)]
    contact = Contact.of(session, event.user_id)
    if contact.erased_at:
        return  # late news of someone who has gone
    notice = Notice(
        event_id=event_id,
        user_id=event.user_id,
        category=rule.category,
        template=rule.template,
        mandatory=rule.mandatory,
        data=_data(event),
        created_at=now(),
    )
    if IN_APP in rule.channels:
        history.add_note(notice, words(notice.template, contact, notice.data))
    if EMAIL in rule.channels:
        poke("notifications.deliver_email", delivery_id=history.add_delivery(notice, EMAIL))


def _data(event: PersonalEvent) -> dict[str, Any]:
    """The event as JSON values, for templates and for clients that lead from a note to its course or order."""
    fields: dict[str, Any] = msgspec.to_builtins(event)
    return {"event": event.type} | {name: value for name, value in fields.items() if name not in _OF_THE_PERSON}
