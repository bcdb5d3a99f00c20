"""Notifications service: notify users of events in the in-app feed, by e-mail and by push.

event → rule → notification → one delivery per channel → provider → outcome → NOTIFICATION_SENT
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
