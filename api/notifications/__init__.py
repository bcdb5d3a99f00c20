"""Notification routes: inbox, preferences, devices, unsubscribe links, e-mail webhook and administration."""

from . import administration, devices, feed, preferences, reports, unsubscribe
from .blueprint import blp

# Importing the modules registers their routes on blp.
__all__ = ["administration", "blp", "devices", "feed", "preferences", "reports", "unsubscribe"]
