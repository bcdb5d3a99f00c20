"""Integrations: the feed of all events, and webhooks to those who want to be told.

event → feed → one delivery an endpoint → courier → outcome
"""

from . import deliveries, endpoints, facts, feed, personal

__all__ = ["deliveries", "endpoints", "facts", "feed", "personal"]
