"""Integrations service: the event feed and outgoing webhooks.

event → feed → one delivery per endpoint → sender threads → outcome
"""

from . import deliveries, endpoints, facts, feed, personal

__all__ = ["deliveries", "endpoints", "facts", "feed", "personal"]
