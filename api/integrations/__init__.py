"""Integration routes: event feed, webhook endpoints, dead letters, quarantined events and the audit log."""

from . import audit, dead_letters, endpoints, event_log, quarantine
from .blueprint import blp

__all__ = [
    "audit",
    "blp",
    "dead_letters",
    "endpoints",
    "event_log",
    "quarantine",
]  # importing them registers their routes on blp
