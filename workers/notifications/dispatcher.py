"""Split a notification by channels: add it to the in-app inbox and queue a delivery for each other channel.

Writes to MongoDB are not part of the PostgreSQL transaction. Each document has an id that is derived from the event, so
a handler that is rolled back and retried finds its earlier documents and adds no second ones. A document written before
a rollback is still correct: the event has happened.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from sqlalchemy.orm import Session

from models.commands import DeliverEmail, DeliverPush
from models.notification_inbox import publish_new_notification
from models.notifications import EMAIL, IN_APP, PUSH, Contact, Device, Notification
from models.notifications.notification_store import NotificationStore
from models.notifications.preference_store import PreferenceStore
from workers.runtime import dependencies
from workers.runtime.dependencies import EnqueueAfterCommit, dependency
from workers.runtime.execution import TaskExecution

from . import stores
from .channels.in_app import add_to_inbox


@dataclass(frozen=True)
class NotificationDispatcher:
    """Sends notifications to users by the channels of their rule."""

    notification_store: NotificationStore
    preference_store: PreferenceStore
    enqueue_after_commit: EnqueueAfterCommit
    publish_new_notification: Callable[[UUID], None]  # runs after the commit

    def send(self, session: Session, notification: Notification, contact: Contact, channels: Collection[str]) -> None:
        """Send ``notification`` to ``contact`` by each of ``channels``. The contact's row must be locked."""
        if IN_APP in channels:
            self._send_in_app(session, notification, contact)
        if EMAIL in channels:
            self.enqueue_after_commit(
                DeliverEmail(delivery_id=self.notification_store.add_delivery(notification, EMAIL))
            )
        if PUSH in channels and Device.list_for_user(session, notification.user_id):
            self.enqueue_after_commit(DeliverPush(delivery_id=self.notification_store.add_delivery(notification, PUSH)))

    def _send_in_app(self, session: Session, notification: Notification, contact: Contact) -> None:
        preferences = self.preference_store.get(notification.user_id)
        if notification.mandatory or preferences.allow(notification.category, IN_APP):
            add_to_inbox(session, self.notification_store, notification, contact)
            self.publish_new_notification(notification.user_id)
        else:
            self.notification_store.add_skipped(notification, IN_APP, "preference")


@dependency
def dispatcher(execution: TaskExecution) -> Iterator[NotificationDispatcher]:
    """Provide the dispatcher of notifications. Raises Unavailable if MongoDB does not respond."""
    with (
        stores.notification_store(execution) as notification_store,
        stores.preference_store(execution) as preference_store,
        dependencies.enqueue_after_commit(execution) as enqueue_after_commit,
    ):
        yield NotificationDispatcher(
            notification_store,
            preference_store,
            enqueue_after_commit,
            lambda user_id: execution.hooks_after_reply.append(partial(publish_new_notification, user_id)),
        )
