"""Notifications: what was told to you, and what you want to be told how."""

from . import administration, feed, preferences, reports, unsubscribe
from .blueprint import blp

__all__ = [
    "administration",
    "blp",
    "feed",
    "preferences",
    "reports",
    "unsubscribe",
]  # importing them puts their routes on blp
