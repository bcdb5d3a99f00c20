"""Notifications service: notify users of events in the in-app inbox, by e-mail and by push.

event_handlers.py (an event and its rule) → dispatcher.py (one delivery per channel) → delivery_policy.py →
channels/ → delivery.py (outcome, NOTIFICATION_SENT)
"""

from . import (
    admin,
    announcements,
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
    stores,
    unsubscribe,
)
from .channels import email, push

__all__ = [
    "admin",
    "announcements",
    "contacts",
    "database_metrics",
    "delivery",
    "devices",
    "email",
    "email_webhooks",
    "event_handlers",
    "inbox",
    "personal_data",
    "preferences",
    "push",
    "reminder_tracking",
    "reminders",
    "stores",
    "unsubscribe",
]
