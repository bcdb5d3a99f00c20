"""Waits: the projection of events from which reminders are derived (inactivity, streaks, open checkouts).

Inactivity and streak are calculated from all of a learner's courses. Events of two topics update these rows; each topic
writes its own columns, and the waits are recalculated after each event. Therefore each topic can be replayed
separately (``python -m bridge rebuild``) with the same result. Sent reminders are stored in another table, so a rebuild
sends none of them twice.
"""

from datetime import UTC, datetime, time, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from models.clock import now
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
from models.log import get_logger
from models.notifications import Contact
from models.notifications.reminders import ABANDONED_CHECKOUT, INACTIVITY, STREAK, Learning, Wait, outdated
from models.retention import prune
from workers import job, projection, task
from workers._delivery import Sessions

from .plans import PLANS

log = get_logger(__name__)

PRUNED_AT_ONCE = 1000  # rows per transaction, so that no transaction is long
_DAY = timedelta(days=1)


def follow(session: Session, event: Event) -> None:
    """Update the waits from ``event``. For events whose handler also notifies the learner."""
    match event:
        case EnrollmentCreated():
            enroll(session, event=event)
        case LessonCompleted():
            study(session, event=event)
        case CourseCompleted():
            complete(session, event=event)
        case PaymentSucceeded():
            pay(session, event=event)


# Courses.


def enroll(session: Session, *, event: EnrollmentCreated) -> None:
    """Record that a learner has access to a course."""
    if contact := _known(session, event.user_id):
        Learning.enroll(
            session,
            event.user_id,
            event.course_id,
            enrollment_id=event.enrollment_id,
            title=event.course_title,
            at=event.enrolled_at,
        )
        _work_out(session, contact)


@task
def leave_course(session: Session, *, event: EnrollmentEnded) -> None:
    """Stop the reminders of a course to which a learner has lost access."""
    if _known(session, event.user_id):
        Learning.end(session, event.user_id, event.course_id, at=event.ended_at)


def study(session: Session, *, event: LessonCompleted) -> None:
    """Record that a learner has completed a lesson; its local day counts for the streak."""
    if contact := _known(session, event.user_id):
        Learning.study(
            session,
            event.user_id,
            event.course_id,
            title=event.course_title,
            at=event.completed_at,
            day=event.completed_at.astimezone(contact.zone).date(),
        )
        _work_out(session, contact)


def complete(session: Session, *, event: CourseCompleted) -> None:
    """Record that a learner has completed a course."""
    if contact := _known(session, event.user_id):
        Learning.complete(session, event.user_id, event.course_id, title=event.course_title, at=event.completed_at)
        _work_out(session, contact)


def _known(session: Session, user_id: UUID) -> Contact | None:
    """Lock and return a user's contact; None if the user is erased. Raises ProjectionBehind."""
    contact = Contact.of(session, user_id)
    return None if contact.erased_at else contact


def _work_out(session: Session, contact: Contact) -> None:
    """Recalculate since when a learner is inactive and how many consecutive days they have learned."""
    learnings = Learning.all_of(session, contact.user_id)
    paused_since = max(learning.active_at for learning in learnings if learning.active_at)
    due_at = PLANS[INACTIVITY].due(paused_since, 0, contact.zone)
    Wait.begin(session, INACTIVITY, contact.user_id, user_id=contact.user_id, since=paused_since, due_at=due_at)
    if days := {day for learning in learnings for day in learning.studied_on}:
        day, count = max(days), 1
        while day - count * _DAY in days:
            count += 1
        began = datetime.combine(day, time(), contact.zone).astimezone(UTC)
        due_at = PLANS[STREAK].due(began, 0, contact.zone) if count > 1 else None
        told = {"since": began, "due_at": due_at, "facts": {"days": count}}
        Wait.begin(session, STREAK, contact.user_id, user_id=contact.user_id, **told)


projection("notifications.accesses", forget=Learning.forget_access, folds=[enroll, leave_course])
projection("notifications.studies", forget=Learning.forget_studies, folds=[study, complete])


# Checkouts.


@task
def watch_checkout(session: Session, *, event: OrderCreated) -> None:
    """Schedule the reminders of an open checkout. Raises ProjectionBehind."""
    if contact := _known(session, event.user_id):
        due_at = PLANS[ABANDONED_CHECKOUT].due(event.created_at, 0, contact.zone)
        facts = {
            "order_id": str(event.order_id),
            "course_id": str(event.course_id),
            "description": event.description,
            "amount_minor": event.amount_minor,
            "currency": event.currency,
        }
        told = {"since": event.created_at, "due_at": due_at, "facts": facts}
        Wait.begin_checkout(session, event.order_id, user_id=event.user_id, **told)


@task
def drop_checkout(session: Session, *, event: OrderCanceled) -> None:
    """Stop the reminders of a canceled checkout."""
    if _known(session, event.user_id):
        Wait.end_checkout(session, event.order_id, user_id=event.user_id, at=event.canceled_at)


def pay(session: Session, *, event: PaymentSucceeded) -> None:
    """Stop the reminders of a paid checkout."""
    if _known(session, event.user_id):
        Wait.end_checkout(session, event.order_id, user_id=event.user_id, at=event.paid_at)


# Checkout reminders are sent within a day, so a rebuild needs only the events that the outbox still retains.
projection(
    "notifications.checkouts",
    forget=Wait.forget_checkout,
    folds=[watch_checkout, drop_checkout, pay],
    for_days_only=True,
)


@job(every_seconds=86400)
def prune_reminders(sessions: Sessions) -> None:
    """Delete waits that cause no more reminders, and old records of sent reminders."""
    for table, gone in outdated(now()).items():
        count = PRUNED_AT_ONCE
        while count == PRUNED_AT_ONCE:
            with sessions.begin() as session:
                count = prune(session, table, gone, limit=PRUNED_AT_ONCE)
            if count:
                log.info("pruned", table=table.__tablename__, rows=count)
