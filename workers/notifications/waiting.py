"""What learners may be reminded of, as events tell it: what began, goes on and is over.

A pause and a streak follow from all courses of a learner, whose rows are kept by two topics: each event sees to the
columns of its own, and what follows is worked out anew. So either topic can be told again (``python -m bridge
rebuild``), and rows that say the same come of it. What went out already is remembered apart: nothing goes out twice.
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

PRUNED_AT_ONCE = 1000  # rows a transaction: none is held for long
_DAY = timedelta(days=1)


def follow(session: Session, event: Event) -> None:
    """Keep what ``event``, of which a learner is told as well, says of what they may be reminded of."""
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
    """A course is open to a learner."""
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
    """End the reminders of a course that a learner has no access to any more."""
    if _known(session, event.user_id):
        Learning.end(session, event.user_id, event.course_id, at=event.ended_at)


def study(session: Session, *, event: LessonCompleted) -> None:
    """A learner has completed a lesson."""
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
    """A learner has completed a course."""
    if contact := _known(session, event.user_id):
        Learning.complete(session, event.user_id, event.course_id, title=event.course_title, at=event.completed_at)
        _work_out(session, contact)


def _known(session: Session, user_id: UUID) -> Contact | None:
    """The contact of a user, locked; None of someone who has gone. Raises ProjectionBehind."""
    contact = Contact.of(session, user_id)
    return None if contact.erased_at else contact


def _work_out(session: Session, contact: Contact) -> None:
    """Since when a learner has paused, and for how many days in a row they have learned."""
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
    """Remind of a checkout that stays open. Raises ProjectionBehind."""
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
    """End the reminders of a checkout that its buyer has canceled."""
    if _known(session, event.user_id):
        Wait.end_checkout(session, event.order_id, user_id=event.user_id, at=event.canceled_at)


def pay(session: Session, *, event: PaymentSucceeded) -> None:
    """End the reminders of a checkout that was paid."""
    if _known(session, event.user_id):
        Wait.end_checkout(session, event.order_id, user_id=event.user_id, at=event.paid_at)


# A checkout is reminded of for a day: what the outbox keeps is more than enough.
projection(
    "notifications.checkouts",
    forget=Wait.forget_checkout,
    folds=[watch_checkout, drop_checkout, pay],
    for_days_only=True,
)


@job(every_seconds=86400)
def prune_reminders(sessions: Sessions) -> None:
    """Forget what nobody is reminded of any more, and which reminders went out long ago."""
    for table, gone in outdated(now()).items():
        count = PRUNED_AT_ONCE
        while count == PRUNED_AT_ONCE:
            with sessions.begin() as session:
                count = prune(session, table, gone, limit=PRUNED_AT_ONCE)
            if count:
                log.info("pruned", table=table.__tablename__, rows=count)
