"""Reminders of inactivity, of a streak about to break and of an open checkout.

Events start and end waits (reminder_tracking.py); a job finds the waits that are due. The reason is checked when the
reminder is created and again when it is sent, because quiet hours or a mail server outage may lie between the two.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from core.clock import business_now
from core.db import utc_now as present
from models.commands import SendReminder
from models.notification_data import reminder_data
from models.notifications import Contact, Delivery, Notification
from models.notifications.reminders import INACTIVITY, STREAK, LearningActivity, PendingReminder, Reminder
from workers import job, task
from workers.runtime.dependencies import EnqueueAfterCommit

from .dispatcher import NotificationDispatcher
from .notification_rules import REMINDER_RULES
from .reminder_schedule import SCHEDULES

BATCH_SIZE = 500  # reminders per run; the next run continues
_DAY = timedelta(days=1)


@job
def enqueue_due_reminders(session: Session, enqueue_after_commit: EnqueueAfterCommit) -> None:
    """Enqueue the reminders that are due."""
    for kind, about in PendingReminder.due(session, before=business_now(), limit=BATCH_SIZE):
        enqueue_after_commit(SendReminder(kind=kind, about=about))


@task
def send_reminder(session: Session, dispatcher: NotificationDispatcher, *, kind: str, about: UUID) -> None:
    """Send the reminder of a wait if its reason still holds and the local hour is allowed. Idempotent."""
    found = session.get(PendingReminder, (kind, about))
    if found is None:
        return
    contact = Contact.get_for_update(session, found.user_id)
    reminder, at, schedule = PendingReminder.get_for_update(session, kind, about), business_now(), SCHEDULES[kind]
    if reminder is None or reminder.due_at is None or reminder.due_at > at:
        return  # another worker sent it, or the wait has ended
    if contact.erased_at or (reason := _reminder_data(session, reminder, contact.zone, at)) is None:
        reminder.due_at = None
        return
    if at > schedule.expires_at(reminder.since):
        reminder.due_at = None  # too late after an outage of the job or a rebuild
        return
    if (allowed_at := schedule.next_allowed_time(at, contact.zone)) > at:
        reminder.due_at = allowed_at  # outside the allowed hours, also after a change of the time zone
        return
    step = schedule.step_at(reminder.since, at)
    reminder.due_at = schedule.due(reminder.since, step + 1, contact.zone)
    local_day = at.astimezone(contact.zone).date()
    occurrence = f"{about} {reminder.since.isoformat()} {step}"
    if reminder_id := Reminder.insert_once(
        session, reminder.user_id, kind=kind, local_day=local_day, reason=occurrence
    ):
        data = reminder_data(kind, about=about, since=reminder.since, **reason)
        dispatcher.send(
            session, _build_notification(contact, kind, reminder_id, data), contact, REMINDER_RULES[kind].channels
        )


def is_still_applicable(session: Session, delivery: Delivery, contact: Contact) -> bool:
    """Return whether the reason of a reminder still holds; always True for deliveries that are no reminders."""
    if delivery.template not in SCHEDULES:
        return True
    reminder = session.get(PendingReminder, (delivery.template, UUID(delivery.data["about"])))
    if reminder is None or reminder.since != datetime.fromisoformat(delivery.data["since"]):
        return False
    return _reminder_data(session, reminder, contact.zone, business_now()) is not None


def _reminder_data(session: Session, reminder: PendingReminder, zone: ZoneInfo, at: datetime) -> dict[str, Any] | None:
    """Return the template data of the reminder; None if its reason no longer holds."""
    if reminder.kind == INACTIVITY:
        if (course := LearningActivity.find_incomplete(session, reminder.user_id)) is None:
            return None
        days = (at - reminder.since).days
        return {"course_id": str(course.course_id), "course_title": course.course_title, "days": days}
    if reminder.kind == STREAK:
        breaks_today = reminder.since.astimezone(zone).date() == at.astimezone(zone).date() - _DAY
        return reminder.facts if breaks_today else None
    bought = LearningActivity.has_access(session, reminder.user_id, UUID(reminder.facts["course_id"]))
    return None if bought or reminder.ended_at else {"description": "", **reminder.facts}


def _build_notification(contact: Contact, kind: str, reminder_id: UUID, data: dict[str, Any]) -> Notification:
    return Notification(
        event_id=reminder_id,
        user_id=contact.user_id,
        category=REMINDER_RULES[kind].category,
        template=REMINDER_RULES[kind].template,
        mandatory=REMINDER_RULES[kind].mandatory,
        data=data,
        created_at=present(),  # real time, not the test clock: it becomes the Date header
    )
