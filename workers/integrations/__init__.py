"""Integrations: the feed of all events, and webhooks to those who want to be told.

event → feed → one delivery an endpoint → courier → outcome
"""

from . import deliveries, endpoints, feed, personal

__all__ = ["deliveries", "endpoints", "feed", "personal"]
