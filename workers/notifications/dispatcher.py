"""Split a notification by channels: add it to the in-app inbox and create a delivery for each other channel.

Writes to MongoDB are not part of the PostgreSQL transaction. Each document has an id that is derived from the event, so
a handler that is rolled back and retried finds its earlier documents and adds no second ones. A document written before
a rollback is still correct: the event has happened.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

import msgspec
from celery import signals
from sqlalchemy.orm import Session

from core.commands import Command
from core.messaging import task_queue
from core.messaging.task_queue import Envelope
from models.commands import DeliverEmail, DeliverPush
from models.notification_inbox import publish_new_notifications
from models.notification_preferences import ANNOUNCEMENTS
from models.notifications import EMAIL, IN_APP, PUSH, Contact, Device, Notification, next_inbox_positions
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
from .rendering import render_note

DeliverAfterReply = Callable[[Command, Mapping[str, str]], None]  # a delivery and its cause

_COMMANDS: dict[str, type[DeliverEmail | DeliverPush]] = {EMAIL: DeliverEmail, PUSH: DeliverPush}

# A slow or unreachable mail server must not delay events: this many threads of a worker deliver what their handlers
# created, and after a slow delivery all deliveries wait in the queue for a while.
MAX_DELIVERING_THREADS = 2
SLOW_SECONDS, PAUSE_SECONDS = 2, 60
MAX_WAITING = 200  # deliveries for these threads, which the sweep must find if the worker is killed
# After a message has taken this long its thread leaves the rest to others, so that the message is acknowledged in time.
MAX_SECONDS = 10


@dataclass(frozen=True)
class NotificationDispatcher:
    """Sends notifications to users by the channels of their rule."""

    notification_store: NotificationStore
    preference_store: PreferenceStore
    deliver_after_reply: DeliverAfterReply
    publish_new_notification: Callable[[UUID], None]  # runs after the commit

    def send(self, session: Session, notification: Notification, contact: Contact, channels: Collection[str]) -> None:
        """Send ``notification`` to ``contact`` by each of ``channels``. The contact's row must be locked."""
        self.send_all(session, [(notification, contact)], channels)

    def send_all(
        self, session: Session, notifications: Sequence[tuple[Notification, Contact]], channels: Collection[str]
    ) -> None:
        """Send each notification to its contact by each of ``channels``. The rows of the contacts must be locked."""
        if not notifications:
            return
        added = [(notification, dict[str, Document]()) for notification, _ in notifications]
        if IN_APP in channels:
            notes = self._notes(session, notifications)
            for notification, fields in added:
                fields[IN_APP] = notes[notification.event_id]
        reachable = _find_reachable(session, notifications, channels)
        for channel in _COMMANDS:
            for notification, fields in added:
                if notification.user_id in reachable[channel]:
                    fields[channel] = queued_delivery(notification)
        self.notification_store.add(added)
        for notification, fields in added:
            for channel, command in _COMMANDS.items():
                if channel in fields and notification.category != ANNOUNCEMENTS:  # those are left to the sweep
                    self.deliver_after_reply(command(delivery_id=notification.delivery_id(channel)), notification.cause)

    def _notes(self, session: Session, notifications: Sequence[tuple[Notification, Contact]]) -> dict[UUID, Document]:
        """Return by event id the note in the contact's language, or the record that the user wants none."""
        preferences = self.preference_store.get_many({each.user_id for each, _ in notifications if not each.mandatory})
        positions = iter(next_inbox_positions(session, len(notifications)))
        notes = dict[UUID, Document]()
        for notification, contact in notifications:
            if notification.mandatory or preferences[notification.user_id].allow(notification.category, IN_APP):
                title, lead = render_note(notification.template, contact, notification.data)
                note = unread_note(notification, title=title, body=lead, position=next(positions))
                self.publish_new_notification(notification.user_id)
            else:
                note = skipped_delivery(notification, "preference")
            notes[notification.event_id] = note
        return notes


def _find_reachable(
    session: Session, notifications: Sequence[tuple[Notification, Contact]], channels: Collection[str]
) -> dict[str, set[UUID]]:
    """Return by channel the users to whom a delivery is queued: by push only those with a device."""
    user_ids = {notification.user_id for notification, _ in notifications}
    return {
        EMAIL: user_ids if EMAIL in channels else set(),
        PUSH: Device.find_owners(session, user_ids) if PUSH in channels else set(),
    }


@dependency
def dispatcher(execution: TaskExecution) -> Iterator[NotificationDispatcher]:
    """Provide the dispatcher of notifications. Raises Unavailable if MongoDB does not respond."""
    with (
        stores.notification_store(execution) as notification_store,
        stores.preference_store(execution) as preference_store,
    ):
        notified = dict[UUID, None]()  # in their order
        until = time.monotonic() + MAX_SECONDS

        def publish_after_reply(user_id: UUID) -> None:
            if not notified:
                execution.hooks_after_reply.append(partial(publish_new_notifications, notified))
            notified[user_id] = None

        def deliver_after_reply(command: Command, cause: Mapping[str, str]) -> None:
            envelope = Envelope(
                request_id=cause.get("request_id"),
                traceparent=cause.get("traceparent"),
                causation_id=cause.get("causation_id"),
            )
            execution.hooks_after_reply.append(partial(local_delivery.deliver, command, envelope, until=until))

        yield NotificationDispatcher(notification_store, preference_store, deliver_after_reply, publish_after_reply)


class LocalDelivery:
    """Delivers in the threads that handled the events: a message of its own costs more than the rest of a delivery."""

    def __init__(self, threads: int) -> None:
        self._free_threads = threading.Semaphore(threads)
        self._waiting = deque[tuple[Command, Envelope]]()
        self._paused_until = 0.0  # monotonic
        self._is_stopping = False

    def stop(self) -> None:
        """Leave the deliveries that wait, and all further ones, to the sweep: the process has little time to end."""
        self._is_stopping = True
        self._waiting.clear()

    def deliver(self, command: Command, envelope: Envelope, *, until: float = math.inf) -> None:
        """Execute the command of a delivery here, or in a thread that delivers already if there are enough of them.

        It is enqueued if deliveries are slow or too many wait. If the worker is killed, the sweep finds the delivery,
        as it finds one whose message was lost. ``until`` (monotonic) is when this thread must leave those that wait to
        the next one or to the sweep.
        """
        if self._is_stopping:
            return
        if time.monotonic() < self._paused_until or len(self._waiting) >= MAX_WAITING:
            task_queue.enqueue(command.task, command, envelope)
        else:
            self._waiting.append((command, envelope))
        # A thread that finds none free may leave: those that deliver look for waiting ones after each delivery.
        while self._waiting and time.monotonic() < until and self._free_threads.acquire(blocking=False):
            try:
                self._deliver_next()
            finally:
                self._free_threads.release()

    def _deliver_next(self) -> None:
        try:
            command, envelope = self._waiting.popleft()
        except IndexError:  # another thread has taken it
            return
        began = time.monotonic()
        if began < self._paused_until:
            task_queue.enqueue(command.task, command, envelope)
            return
        execution = TaskExecution(command.task, task_queue.new_task_id(), envelope)
        execute_message(TASKS[command.task], execution, msgspec.to_builtins(command))
        if (ended := time.monotonic()) - began > SLOW_SECONDS:
            self._paused_until = ended + PAUSE_SECONDS


local_delivery = LocalDelivery(MAX_DELIVERING_THREADS)


@signals.worker_shutting_down.connect
def _stop_delivering(**_: object) -> None:
    local_delivery.stop()
