"""Reminders of inactivity, of a streak about to break and of an open checkout.

Events start and end waits (waiting.py); a job finds the waits that are due. The reason is checked when the reminder is
created and again when it is sent, because quiet hours or a mail server outage may lie between the two.
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

LIMIT = 500  # reminders per run; the next run continues
_DAY = timedelta(days=1)


@job(every_seconds=600)
def look_for_reminders(session: Session, poke: Poke) -> None:
    """Enqueue the reminders that are due."""
    for kind, about in Wait.due(session, before=now(), limit=LIMIT):
        poke("notifications.remind", kind=kind, about=about)


@task
def remind(session: Session, desk: Desk, *, kind: str, about: UUID) -> None:
    """Send the reminder of a wait if its reason still holds and the local hour is allowed. Idempotent."""
    found = session.get(Wait, (kind, about))
    if found is None:
        return
    contact = Contact.of(session, found.user_id)
    wait, at, plan = Wait.find(session, kind, about), now(), PLANS[kind]
    if wait is None or wait.due_at is None or wait.due_at > at:
        return  # another worker sent it, or the wait has ended
    if contact.erased_at or (reason := _reason(session, wait, contact.zone, at)) is None:
        wait.due_at = None
        return
    if at > plan.given_up_after(wait.since):
        wait.due_at = None  # too late after an outage of the job or a rebuild
        return
    if (opens := plan.opens(at, contact.zone)) > at:
        wait.due_at = opens  # outside the allowed hours, also after a change of the time zone
        return
    step = plan.step_at(wait.since, at)
    wait.due_at = plan.due(wait.since, step + 1, contact.zone)
    local_day = at.astimezone(contact.zone).date()
    told = f"{about} {wait.since.isoformat()} {step}"
    if reminder_id := Reminder.first(session, wait.user_id, kind=kind, local_day=local_day, reason=told):
        data = {"event": "REMINDER", "kind": kind, "about": str(about), "since": wait.since.isoformat(), **reason}
        desk.send_out(session, _notice(contact, kind, reminder_id, data), contact, REMINDERS[kind].channels)


def still_holds(session: Session, delivery: Delivery, contact: Contact) -> bool:
    """Return whether the reason of a reminder still holds; always True for deliveries that are no reminders."""
    if delivery.template not in PLANS:
        return True
    wait = session.get(Wait, (delivery.template, UUID(delivery.data["about"])))
    if wait is None or wait.since.isoformat() != delivery.data["since"]:
        return False
    return _reason(session, wait, contact.zone, now()) is not None


def _reason(session: Session, wait: Wait, zone: ZoneInfo, at: datetime) -> dict[str, Any] | None:
    """Return the template data of the reminder; None if its reason no longer holds."""
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
        created_at=present(),  # real time, not the test clock: it becomes the Date header
    )
