"""Announcements of courses: notify a page of learners."""

from typing import Any
from uuid import UUID, uuid5

from sqlalchemy.orm import Session

from core.db import utc_now
from models.events import CourseAnnounced
from models.notification_data import AnnouncementData, to_json
from models.notifications import Contact, Notification
from workers import task

from .dispatcher import NotificationDispatcher
from .notification_rules import RULES


@task
def send_announcement(session: Session, dispatcher: NotificationDispatcher, *, event: CourseAnnounced) -> None:
    """Notify learners of an announcement; each once, however often the event arrives. Raises ProjectionNotReady."""
    rule = RULES[CourseAnnounced]
    contacts = Contact.list_for_update(session, event.user_ids)
    first, *rest = [paragraph for paragraph in event.body.splitlines() if paragraph.strip()]
    announced = AnnouncementData(
        announcement_id=event.announcement_id,
        course_id=event.course_id,
        course_title=event.course_title,
        subject=event.subject,
        first=first,
        rest=rest,
    )
    data = to_json(announced)
    notifications = [
        (_notification(event, user_id, category=rule.category, template=rule.template, data=data), contacts[user_id])
        for user_id in event.user_ids
        if not contacts[user_id].erased_at
    ]
    dispatcher.send_all(session, notifications, rule.channels)


def _notification(
    event: CourseAnnounced, user_id: UUID, *, category: str, template: str, data: dict[str, Any]
) -> Notification:
    return Notification(
        event_id=uuid5(event.announcement_id, str(user_id)),  # one event notifies many users
        user_id=user_id,
        category=category,
        template=template,
        mandatory=False,
        data=data,
        created_at=utc_now(),
    )
