"""Integration and operator routes: event feed, webhooks, dead letters, quarantine, audit log, jobs, status."""

from . import audit, dead_letters, endpoints, event_log, jobs, quarantine, request_traces, status
from .blueprint import blp

__all__ = [
    "audit",
    "blp",
    "dead_letters",
    "endpoints",
    "event_log",
    "jobs",
    "quarantine",
    "request_traces",
    "status",
]  # importing them registers their routes on blp
