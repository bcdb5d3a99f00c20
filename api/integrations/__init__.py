"""Integration routes: event feed, webhook endpoints, dead letters and quarantined events."""

from . import dead_letters, endpoints, event_log, quarantine
from .blueprint import blp

__all__ = [
    "blp",
    "dead_letters",
    "endpoints",
    "event_log",
    "quarantine",
]  # importing them registers their routes on blp
