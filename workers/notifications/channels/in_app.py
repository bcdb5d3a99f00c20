"""Add notifications to the in-app inbox."""

from sqlalchemy.orm import Session

from models.notifications import Contact, Notification, next_inbox_position
from models.notifications.notification_store import NotificationStore
from workers.notifications.rendering import render


def add_to_inbox(
    session: Session, notification_store: NotificationStore, notification: Notification, contact: Contact
) -> None:
    """Render ``notification`` in the contact's language and add it to the inbox. The contact's row must be locked."""
    message = render(notification.template, contact, notification.data)
    notification_store.add_in_app(
        notification, title=message.title, body=message.lead, position=next_inbox_position(session)
    )
