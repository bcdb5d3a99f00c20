"""Notifications: what happened, told to the person it concerns, in the feed and by e-mail.

event → rule → notification → one delivery a channel → provider → outcome → NOTIFICATION_SENT
"""

from . import contacts, delivery, facts, feed, messages, personal, preferences

__all__ = ["contacts", "delivery", "facts", "feed", "messages", "personal", "preferences"]
