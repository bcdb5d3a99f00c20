"""Notifications: contacts, preferences and delivery results in PostgreSQL; the notifications are in MongoDB."""

from .contacts import Contact, Recipient, next_position
from .deliveries import Delivery, EndedDelivery, Notice, Outcome, State
from .devices import Device
from .preferences import CATEGORIES, CHANNELS, EMAIL, IN_APP, PUSH, Preferences, QuietHours
from .suppressions import MailReport, Suppression
from .unsubscribing import Unsubscription

__all__ = [
    "CATEGORIES",
    "CHANNELS",
    "EMAIL",
    "IN_APP",
    "PUSH",
    "Contact",
    "Delivery",
    "Device",
    "EndedDelivery",
    "MailReport",
    "Notice",
    "Outcome",
    "Preferences",
    "QuietHours",
    "Recipient",
    "State",
    "Suppression",
    "Unsubscription",
    "next_position",
]
