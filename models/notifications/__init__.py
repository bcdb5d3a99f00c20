"""Notifications: contacts, preferences and delivery results in PostgreSQL; the notifications are in MongoDB."""

from models.notification_preferences import CATEGORIES, CHANNELS, EMAIL, IN_APP, PUSH, Preferences, QuietHours

from .contacts import Contact, NotificationSequence, next_inbox_positions
from .deliveries import Delivery, DeliveryOutcome, DeliveryResult, DeliveryState, Notification
from .devices import Device
from .suppressions import EmailEvent, Suppression
from .unsubscribe_links import UnsubscribeLink

__all__ = [
    "CATEGORIES",
    "CHANNELS",
    "EMAIL",
    "IN_APP",
    "PUSH",
    "Contact",
    "Delivery",
    "DeliveryOutcome",
    "DeliveryResult",
    "DeliveryState",
    "Device",
    "EmailEvent",
    "Notification",
    "NotificationSequence",
    "Preferences",
    "QuietHours",
    "Suppression",
    "UnsubscribeLink",
    "next_inbox_positions",
]
