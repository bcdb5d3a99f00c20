"""Reminders: of a pause, of a streak that would break, of a checkout that was left open.

What began and what is over stands in rows (waiting.py); a job looks for what has lasted long enough. The reason is
asked for when a reminder is made, and again when it is sent: between the two lie quiet hours and mail servers that are
down.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from models.base import now as present
from models.clock import now
from models.notifications import Contact, Delivery, Notice
from models.notifications.reminders import INACTIVITY, STREAK, Learning, Reminder, Wait
from workers import job, task
from workers.resources import Poke

from .plans import PLANS
from .rules import REMINDERS
from .sending import Desk

LIMIT = 500  # a run; what is left is found by the next
_DAY = timedelta(days=1)


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
    if at > plan.given_up_after(wait.since):
        wait.due_at = None  # nobody looked for so long, or the row was made anew
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
    return None if bought or wait.ended_at else {"description": "", **wait.facts}


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
