"""Integration routes: event feed, webhook endpoints, dead letters, quarantined events and the audit log."""

from . import dead_letters, endpoints, event_log, quarantine, staff_actions
from .blueprint import blp

__all__ = [
    "blp",
    "dead_letters",
    "endpoints",
    "event_log",
    "quarantine",
    "staff_actions",
]  # importing them registers their routes on blp
