"""Notifications service: notify users of events in the in-app feed, by e-mail and by push.

event → rule → notification → one delivery per channel → provider → outcome → NOTIFICATION_SENT
"""

from . import (
    admin,
    contacts,
    database_metrics,
    delivery,
    devices,
    email_webhooks,
    event_handlers,
    inbox,
    personal_data,
    preferences,
    reminder_tracking,
    reminders,
    unsubscribe,
)

__all__ = [
    "admin",
    "contacts",
    "database_metrics",
    "delivery",
    "devices",
    "email_webhooks",
    "event_handlers",
    "inbox",
    "personal_data",
    "preferences",
    "reminder_tracking",
    "reminders",
    "unsubscribe",
]
