"""Commands of the notifications service."""

from uuid import UUID

import msgspec

from core.commands import Command
from models.notification_preferences import Preferences


class WebPushSubscription(msgspec.Struct):
    """Result of a browser's pushManager.subscribe()."""

    endpoint: str
    keys: dict[str, str]


class ListNotifications(Command, service="notifications"):
    """Return a page of all users' notifications, newest first."""

    filters: dict[str, str]
    limit: int
    after: UUID | None
    user_id: UUID | None = None


class ReplayNotification(Command, service="notifications"):
    """Send an ended delivery again, unless preferences or suppression forbid it now."""

    notification_id: UUID


class DeliverEmail(Command, service="notifications"):
    """Send a due e-mail unless it is suppressed, not allowed or not deliverable."""

    delivery_id: UUID


class DeliverPush(Command, service="notifications"):
    """Send a due push message to all devices of its user."""

    delivery_id: UUID


class ListDevices(Command, service="notifications"):
    """Return a page of a user's devices, oldest first."""

    user_id: UUID
    after: UUID | None
    limit: int


class RegisterDevice(Command, service="notifications"):
    """Register a device for push messages."""

    user_id: UUID
    token: str | None = None
    subscription: WebPushSubscription | None = None


class RemoveDevice(Command, service="notifications"):
    """Remove a device."""

    user_id: UUID
    device_id: UUID


class ReceiveEmailEvent(Command, service="notifications"):
    """Apply a delivery report."""

    body: bytes
    headers: dict[str, str]


class ArchiveNotification(Command, service="notifications"):
    """Archive one of a user's notes: the feed no longer lists it."""

    user_id: UUID
    notification_id: UUID


class CountUnread(Command, service="notifications"):
    """Return the number of a user's unread notes."""

    user_id: UUID


class ListInbox(Command, service="notifications"):
    """Return a page of a user's notes, newest first."""

    user_id: UUID
    unread: bool
    limit: int
    after: int | None


class MarkAllRead(Command, service="notifications"):
    """Mark all notes of a user as read."""

    user_id: UUID


class MarkRead(Command, service="notifications"):
    """Mark one of a user's notes as read."""

    user_id: UUID
    notification_id: UUID


class ChangePreferences(Command, service="notifications"):
    """Replace a user's preferences."""

    user_id: UUID
    expected_version: int
    preferences: Preferences


class ShowPreferences(Command, service="notifications"):
    """Return a user's preferences with every existing category."""

    user_id: UUID


class SendReminder(Command, service="notifications"):
    """Send the reminder of a wait if its reason still holds and the local hour is allowed."""

    kind: str
    about: UUID


class ShowUnsubscription(Command, service="notifications"):
    """Return what a link unsubscribes from."""

    token: str


class Unsubscribe(Command, service="notifications"):
    """Turn off mails of the link's category."""

    token: str
