"""Integrations service: the event feed and outgoing webhooks.

event → feed → one delivery per endpoint → sender threads → outcome
"""

from . import database_metrics, deliveries, endpoints, event_log, personal_data, request_traces, statistics

__all__ = ["database_metrics", "deliveries", "endpoints", "event_log", "personal_data", "request_traces", "statistics"]
