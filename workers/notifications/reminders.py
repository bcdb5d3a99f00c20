"""Reminders: of a pause, of a streak that would break, of a checkout that was left open.

Events say what began and what is over; a job looks for what has lasted long enough. The reason is asked for when a
reminder is made, and again when it is sent: between the two lie quiet hours and mail servers that are down.
"""

from datetime import UTC, datetime, time, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from models.base import now as present
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
from models.notifications import Contact, Delivery, Notice
from models.notifications.reminders import ABANDONED_CHECKOUT, INACTIVITY, STREAK, Learning, Reminder, Wait
from workers import job, task
from workers.resources import Poke

from .plans import PLANS
from .rules import REMINDERS
from .sending import Desk

LIMIT = 500  # a run; what is left is found by the next
_DAY = timedelta(days=1)


# What begins, goes on and is over.


def follow(session: Session, contact: Contact, event: Event) -> None:
    """Keep what ``event`` says of what its user may be reminded of; their contact is locked, and not erased."""
    match event:
        case EnrollmentCreated():
            _step(session, contact, event.course_id, event.course_title, event.enrolled_at)
            Learning.reopen(session, contact.user_id, event.course_id, at=event.enrolled_at)
        case LessonCompleted():
            _step(session, contact, event.course_id, event.course_title, event.completed_at)
            _extend_streak(session, contact, event.completed_at)
        case CourseCompleted():
            _step(session, contact, event.course_id, event.course_title, event.completed_at)
            Learning.complete(session, contact.user_id, event.course_id, at=event.completed_at)
        case PaymentSucceeded():
            Wait.end(session, ABANDONED_CHECKOUT, event.order_id, at=event.paid_at)


@task
def leave_course(session: Session, *, event: EnrollmentEnded) -> None:
    """Remind no more of a course that a learner has no access to, after a refund for one."""
    Learning.end(session, event.user_id, event.course_id, at=event.ended_at)


@task
def watch_checkout(session: Session, *, event: OrderCreated) -> None:
    """Remind of a checkout that stays open. Raises ProjectionBehind."""
    contact = Contact.of(session, event.user_id)
    if contact.erased_at:
        return
    Wait.begin(
        session,
        ABANDONED_CHECKOUT,
        event.order_id,
        user_id=event.user_id,
        since=event.created_at,
        due_at=PLANS[ABANDONED_CHECKOUT].due(event.created_at, 0, contact.zone),
        facts={
            "order_id": str(event.order_id),
            "course_id": str(event.course_id),
            "amount_minor": event.amount_minor,
            "currency": event.currency,
        },
    )


@task
def drop_checkout(session: Session, *, event: OrderCanceled) -> None:
    """Remind no more of a checkout that its buyer has given up."""
    Wait.end(session, ABANDONED_CHECKOUT, event.order_id, at=event.canceled_at)


def _step(session: Session, contact: Contact, course_id: UUID, title: str, at: datetime) -> None:
    Learning.step(session, contact.user_id, course_id, title=title, at=at)
    due_at = PLANS[INACTIVITY].due(at, 0, contact.zone)
    Wait.begin(session, INACTIVITY, contact.user_id, user_id=contact.user_id, since=at, due_at=due_at, facts={})


def _extend_streak(session: Session, contact: Contact, at: datetime) -> None:
    today = at.astimezone(contact.zone).date()
    began = datetime.combine(today, time(), contact.zone).astimezone(UTC)
    before = Wait.find(session, STREAK, contact.user_id)
    days = 1
    if before and before.since.astimezone(contact.zone).date() == today - _DAY:
        days = before.facts["days"] + 1
    due_at = PLANS[STREAK].due(began, 0, contact.zone) if days > 1 else None
    facts = {"days": days}
    Wait.begin(session, STREAK, contact.user_id, user_id=contact.user_id, since=began, due_at=due_at, facts=facts)


# Reminding.


@job(every_seconds=600)
def look_for_reminders(session: Session, poke: Poke) -> None:
    """Start the reminders whose time has come."""
    for kind, about in Wait.due(session, before=now(), limit=LIMIT):
        poke("notifications.remind", kind=kind, about=about)


@task
def remind(session: Session, desk: Desk, *, kind: str, about: UUID) -> None:
    """Remind of what lasts, if it still does, at an hour that fits. Started twice, it is told once."""
    found = session.get(Wait, (kind, about))
    if found is None:
        return
    contact = Contact.of(session, found.user_id)
    wait, at, plan = Wait.find(session, kind, about), now(), PLANS[kind]
    if wait is None or wait.due_at is None or wait.due_at > at:
        return  # somebody was faster, or it is over
    if contact.erased_at or (reason := _reason(session, wait, contact.zone, at)) is None:
        wait.due_at = None
        return
    if (opens := plan.opens(at, contact.zone)) > at:
        wait.due_at = opens  # the hour has passed, or the learner has moved
        return
    step = plan.step_at(wait.since, at)
    wait.due_at = plan.due(wait.since, step + 1, contact.zone)
    local_day = at.astimezone(contact.zone).date()
    told = f"{about} {wait.since.isoformat()} {step}"
    if reminder_id := Reminder.first(session, wait.user_id, kind=kind, local_day=local_day, reason=told):
        data = {"event": "REMINDER", "kind": kind, "about": str(about), "since": wait.since.isoformat(), **reason}
        desk.send_out(session, _notice(contact, kind, reminder_id, data), contact, REMINDERS[kind].channels)


def still_holds(session: Session, delivery: Delivery, contact: Contact) -> bool:
    """Whether what ``delivery`` tells is still so; of other things than reminders it always is."""
    if delivery.template not in PLANS:
        return True
    wait = session.get(Wait, (delivery.template, UUID(delivery.data["about"])))
    if wait is None or wait.since.isoformat() != delivery.data["since"]:
        return False
    return _reason(session, wait, contact.zone, now()) is not None


def _reason(session: Session, wait: Wait, zone: ZoneInfo, at: datetime) -> dict[str, Any] | None:
    """What there is to be reminded of, for the words; None where there is nothing any more."""
    if wait.kind == INACTIVITY:
        if (course := Learning.unfinished(session, wait.user_id)) is None:
            return None
        days = (at - wait.since).days
        return {"course_id": str(course.course_id), "course_title": course.course_title, "days": days}
    if wait.kind == STREAK:
        breaks_today = wait.since.astimezone(zone).date() == at.astimezone(zone).date() - _DAY
        return wait.facts if breaks_today else None
    bought = Learning.has_access(session, wait.user_id, UUID(wait.facts["course_id"]))
    return None if bought or wait.ended_at else wait.facts


def _notice(contact: Contact, kind: str, reminder_id: UUID, data: dict[str, Any]) -> Notice:
    return Notice(
        event_id=reminder_id,
        user_id=contact.user_id,
        category=REMINDERS[kind].category,
        template=REMINDERS[kind].template,
        mandatory=REMINDERS[kind].mandatory,
        data=data,
        created_at=present(),  # the mail's own time
    )
