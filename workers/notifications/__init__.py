"""Notifications: what happened, told to the person it concerns, in the feed and by e-mail.

event → rule → notification → one delivery a channel → provider → outcome → NOTIFICATION_SENT
"""

from . import (
    administration,
    contacts,
    delivery,
    devices,
    facts,
    feed,
    messages,
    personal,
    preferences,
    reminders,
    reports,
    unsubscribing,
    waiting,
)

__all__ = [
    "administration",
    "contacts",
    "delivery",
    "devices",
    "facts",
    "feed",
    "messages",
    "personal",
    "preferences",
    "reminders",
    "reports",
    "unsubscribing",
    "waiting",
]
