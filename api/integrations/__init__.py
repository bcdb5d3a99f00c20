"""Integration routes: event feed, webhook endpoints, dead letters and quarantined events."""

from . import deadletters, feed, quarantine, webhooks
from .blueprint import blp

__all__ = ["blp", "deadletters", "feed", "quarantine", "webhooks"]  # importing them registers their routes on blp
