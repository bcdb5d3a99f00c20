"""Notifications: what is known of the people to write to (PostgreSQL), and what was told to them (MongoDB)."""

from .contacts import Contact, Recipient, next_position
from .deliveries import Delivery, EndedDelivery, Notice, Outcome, State
from .preferences import CATEGORIES, CHANNELS, EMAIL, IN_APP, PUSH, Preferences, QuietHours

__all__ = [
    "CATEGORIES",
    "CHANNELS",
    "EMAIL",
    "IN_APP",
    "PUSH",
    "Contact",
    "Delivery",
    "EndedDelivery",
    "Notice",
    "Outcome",
    "Preferences",
    "QuietHours",
    "Recipient",
    "State",
    "next_position",
]
