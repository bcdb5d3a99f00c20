"""Notifications: what was told to you, and what you want to be told how."""

from . import administration, devices, feed, preferences, reports, unsubscribe
from .blueprint import blp

# Importing them puts their routes on blp.
__all__ = ["administration", "blp", "devices", "feed", "preferences", "reports", "unsubscribe"]
