"""Waits: the projection of events from which reminders are derived (inactivity, streaks, open checkouts).

Inactivity and streak are calculated from all of a learner's courses. Events of two topics update these rows; each topic
writes its own columns, and the waits are recalculated after each event. Therefore each topic can be replayed
separately (``python -m bridge rebuild``) with the same result. Sent reminders are stored in another table, so a rebuild
sends none of them twice.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, time, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from core.bus.retention import prune
from core.clock import business_now
from core.log import get_logger
from models.events import (
    CourseCompleted,
    EnrollmentCreated,
    EnrollmentEnded,
    Event,
    LessonCompleted,
    OrderCanceled,
    OrderCreated,
    PaymentSucceeded,
)
from models.notifications import Contact
from models.notifications.reminders import (
    ABANDONED_CHECKOUT,
    INACTIVITY,
    STREAK,
    CompletedLesson,
    LearningActivity,
    PendingReminder,
    StartedAccess,
    StudiedCourse,
    Wait,
    expired_rows,
)
from workers import job, projection, task
from workers.runtime.execution import Transactions

from .reminder_schedule import SCHEDULES

log = get_logger(__name__)

PRUNE_BATCH_SIZE = 1000  # rows per transaction, so that no transaction is long
_DAY = timedelta(days=1)


def track_event(session: Session, contact: Contact, event: Event) -> None:
    """Update the waits from ``event`` of ``contact``, whose row must be locked.

    For events whose handler also notifies the learner.
    """
    match event:
        case CourseCompleted():
            _record_course(session, contact, event)
        case PaymentSucceeded():
            PendingReminder.end_checkout(session, event.order_id, user_id=event.user_id, at=event.paid_at)


# Courses. The handlers named on_… are called by rebuilds.


def on_enrolled(session: Session, *, event: EnrollmentCreated) -> None:
    """Record that a learner has access to a course."""
    if contact := _get_active_contact(session, event.user_id):
        track_enrollments(session, {contact.user_id: contact}, [event])


def track_enrollments(session: Session, contacts: Mapping[UUID, Contact], events: Iterable[EnrollmentCreated]) -> None:
    """Update the waits from new enrollments of ``contacts``, by user id, whose rows must be locked."""
    LearningActivity.record_access_starts(
        session,
        [
            StartedAccess(event.user_id, event.course_id, event.enrollment_id, event.course_title, event.enrolled_at)
            for event in events
        ],
    )
    _recompute(session, *contacts.values())


@task
def on_enrollment_ended(session: Session, *, event: EnrollmentEnded) -> None:
    """Stop the reminders of a course to which a learner has lost access."""
    if _get_active_contact(session, event.user_id):
        LearningActivity.record_access_end(session, event.user_id, event.course_id, at=event.ended_at)


def on_lesson_completed(session: Session, *, event: LessonCompleted) -> None:
    """Record that a learner has completed a lesson; its local day counts for the streak."""
    if contact := _get_active_contact(session, event.user_id):
        track_lessons(session, {contact.user_id: contact}, [event])


def track_lessons(session: Session, contacts: Mapping[UUID, Contact], events: Iterable[LessonCompleted]) -> None:
    """Update the waits from completed lessons of ``contacts``, by user id, whose rows must be locked."""
    LearningActivity.record_activities(
        session,
        [
            CompletedLesson(
                event.user_id,
                event.course_id,
                event.course_title,
                event.completed_at,
                (event.completed_at.astimezone(contacts[event.user_id].zone).date(),),
            )
            for event in events
        ],
    )
    _recompute(session, *contacts.values())


def on_course_completed(session: Session, *, event: CourseCompleted) -> None:
    """Record that a learner has completed a course."""
    if contact := _get_active_contact(session, event.user_id):
        _record_course(session, contact, event)


def _record_course(session: Session, contact: Contact, event: CourseCompleted) -> None:
    LearningActivity.record_completion(
        session, event.user_id, event.course_id, title=event.course_title, at=event.completed_at
    )
    _recompute(session, contact)


def _get_active_contact(session: Session, user_id: UUID) -> Contact | None:
    """Lock and return a user's contact; None if the user is erased. Raises ProjectionNotReady."""
    contact = Contact.get_for_update(session, user_id)
    return None if contact.erased_at else contact


def _recompute(session: Session, *contacts: Contact) -> None:
    """Recalculate since when learners are inactive and how many consecutive days they have learned."""
    courses = LearningActivity.list_for_users(session, [contact.user_id for contact in contacts])
    # In one order, so that two transactions do not deadlock.
    in_order = sorted(contacts, key=lambda contact: contact.user_id)
    PendingReminder.upsert_all(
        session, [wait for contact in in_order for wait in _waits(contact, courses[contact.user_id])]
    )


def _waits(contact: Contact, courses: list[StudiedCourse]) -> Iterator[Wait]:
    paused_since = max(course.active_at for course in courses if course.active_at)
    yield Wait(INACTIVITY, contact.user_id, paused_since, SCHEDULES[INACTIVITY].due(paused_since, 0, contact.zone))
    if days := {day for course in courses for day in course.studied_on}:
        day, count = max(days), 1
        while day - count * _DAY in days:
            count += 1
        began = datetime.combine(day, time(), contact.zone).astimezone(UTC)
        due_at = SCHEDULES[STREAK].due(began, 0, contact.zone) if count > 1 else None
        yield Wait(STREAK, contact.user_id, began, due_at, {"days": count})


projection(
    "notifications.course_access", clear_rows=LearningActivity.clear_access, handlers=[on_enrolled, on_enrollment_ended]
)
projection(
    "notifications.learning_activity",
    clear_rows=LearningActivity.clear_activity,
    handlers=[on_lesson_completed, on_course_completed],
)


# Checkouts.


@task
def start_checkout_reminder(session: Session, *, event: OrderCreated) -> None:
    """Schedule the reminders of an open checkout. Raises ProjectionNotReady."""
    if contact := _get_active_contact(session, event.user_id):
        due_at = SCHEDULES[ABANDONED_CHECKOUT].due(event.created_at, 0, contact.zone)
        facts = {
            "order_id": str(event.order_id),
            "course_id": str(event.course_id),
            "description": event.description,
            "amount_minor": event.amount_minor,
            "currency": event.currency,
        }
        row = {"since": event.created_at, "due_at": due_at, "facts": facts}
        PendingReminder.start_checkout(session, event.order_id, user_id=event.user_id, **row)


@task
def cancel_checkout_reminder(session: Session, *, event: OrderCanceled) -> None:
    """Stop the reminders of a canceled checkout."""
    if _get_active_contact(session, event.user_id):
        PendingReminder.end_checkout(session, event.order_id, user_id=event.user_id, at=event.canceled_at)


def on_payment(session: Session, *, event: PaymentSucceeded) -> None:
    """Stop the reminders of a paid checkout."""
    if _get_active_contact(session, event.user_id):
        PendingReminder.end_checkout(session, event.order_id, user_id=event.user_id, at=event.paid_at)


# Checkout reminders are sent within a day, so a rebuild needs only the events that the outbox still retains.
projection(
    "notifications.checkouts",
    clear_rows=PendingReminder.clear_checkout,
    handlers=[start_checkout_reminder, cancel_checkout_reminder, on_payment],
    short_lived=True,
)


@job
def prune_reminders(transactions: Transactions) -> None:
    """Delete waits that cause no more reminders, and old records of sent reminders."""
    for table, is_expired in expired_rows(business_now()).items():
        count = PRUNE_BATCH_SIZE
        while count == PRUNE_BATCH_SIZE:
            with transactions.begin() as session:
                count = prune(session, table, is_expired, limit=PRUNE_BATCH_SIZE)
            if count:
                log.info("pruned", table=table.__tablename__, rows=count)
