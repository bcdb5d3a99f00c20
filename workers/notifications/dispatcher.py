"""Split a notification by channels: add it to the in-app inbox and create a delivery for each other channel.

Writes to MongoDB are not part of the PostgreSQL transaction. Each document has an id that is derived from the event, so
a handler that is rolled back and retried finds its earlier documents and adds no second ones. A document written before
a rollback is still correct: the event has happened.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from uuid import UUID

import msgspec
from sqlalchemy.orm import Session

from core.commands import Command
from core.log import correlation_ids
from core.messaging import task_queue
from core.messaging.task_queue import Envelope
from models.commands import DeliverEmail, DeliverPush
from models.notification_inbox import publish_new_notification
from models.notifications import EMAIL, IN_APP, PUSH, Contact, Device, Notification, next_inbox_position
from models.notifications.mongodb import Document
from models.notifications.notification_store import (
    NotificationStore,
    queued_delivery,
    skipped_delivery,
    unread_note,
)
from models.notifications.preference_store import PreferenceStore
from workers.runtime.dependencies import dependency
from workers.runtime.execution import TaskExecution
from workers.runtime.tasks import TASKS, execute_message

from . import stores
from .rendering import render

DeliverAfterReply = Callable[[Command], None]

# A slow or unreachable mail server must not delay events: this many threads of a worker deliver what their handlers
# created, and after a slow delivery all deliveries wait in the queue for a while.
MAX_DELIVERING_THREADS = 2
SLOW_SECONDS, PAUSE_SECONDS = 2, 60


@dataclass(frozen=True)
class NotificationDispatcher:
    """Sends notifications to users by the channels of their rule."""

    notification_store: NotificationStore
    preference_store: PreferenceStore
    deliver_after_reply: DeliverAfterReply
    publish_new_notification: Callable[[UUID], None]  # runs after the commit

    def send(self, session: Session, notification: Notification, contact: Contact, channels: Collection[str]) -> None:
        """Send ``notification`` to ``contact`` by each of ``channels``. The contact's row must be locked."""
        fields = dict[str, Document]()
        if IN_APP in channels:
            fields[IN_APP] = self._note(session, notification, contact)
        if EMAIL in channels:
            fields[EMAIL] = queued_delivery(notification)
        if PUSH in channels and Device.has_any(session, notification.user_id):
            fields[PUSH] = queued_delivery(notification)
        self.notification_store.add(notification, fields)
        if EMAIL in fields:
            self.deliver_after_reply(DeliverEmail(delivery_id=notification.delivery_id(EMAIL)))
        if PUSH in fields:
            self.deliver_after_reply(DeliverPush(delivery_id=notification.delivery_id(PUSH)))

    def _note(self, session: Session, notification: Notification, contact: Contact) -> Document:
        """Return the note in the contact's language, or the record that the user wants none."""
        if not notification.mandatory:
            preferences = self.preference_store.get(notification.user_id)
            if not preferences.allow(notification.category, IN_APP):
                return skipped_delivery(notification, "preference")
        message = render(notification.template, contact, notification.data)
        self.publish_new_notification(notification.user_id)
        return unread_note(notification, title=message.title, body=message.lead, position=next_inbox_position(session))


@dependency
def dispatcher(execution: TaskExecution) -> Iterator[NotificationDispatcher]:
    """Provide the dispatcher of notifications. Raises Unavailable if MongoDB does not respond."""
    with (
        stores.notification_store(execution) as notification_store,
        stores.preference_store(execution) as preference_store,
    ):
        cause = correlation_ids()
        envelope = Envelope(
            request_id=cause.get("request_id"),
            traceparent=cause.get("traceparent"),
            causation_id=cause.get("causation_id"),
        )
        yield NotificationDispatcher(
            notification_store,
            preference_store,
            lambda command: execution.hooks_after_reply.append(partial(local_delivery.deliver, command, envelope)),
            lambda user_id: execution.hooks_after_reply.append(partial(publish_new_notification, user_id)),
        )


class LocalDelivery:
    """Delivers in the thread that handled the event: a message of its own costs more than the rest of a delivery."""

    def __init__(self, threads: int) -> None:
        self._free_threads = threading.Semaphore(threads)
        self._paused_until = 0.0  # monotonic

    def deliver(self, command: Command, envelope: Envelope) -> None:
        """Execute the command of a delivery here, or enqueue it if too many threads deliver or deliveries are slow.

        If the worker is killed, the sweep finds the delivery, as it finds one whose message was lost.
        """
        began = time.monotonic()
        if began < self._paused_until or not self._free_threads.acquire(blocking=False):
            task_queue.enqueue(command.task, command, envelope)
            return
        try:
            execution = TaskExecution(command.task, task_queue.new_task_id(), envelope)
            execute_message(TASKS[command.task], execution, msgspec.to_builtins(command))
        finally:
            self._free_threads.release()
        if (ended := time.monotonic()) - began > SLOW_SECONDS:
            self._paused_until = ended + PAUSE_SECONDS


local_delivery = LocalDelivery(MAX_DELIVERING_THREADS)
