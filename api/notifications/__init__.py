"""Notification routes: inbox, preferences, devices, unsubscribe links, e-mail webhook and administration."""

from . import admin, devices, email_webhooks, inbox, preferences, stream, unsubscribe
from .blueprint import blp

# Importing the modules registers their routes on blp.
__all__ = ["admin", "blp", "devices", "email_webhooks", "inbox", "preferences", "stream", "unsubscribe"]
