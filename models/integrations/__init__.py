"""Integrations: the ordered event log for integrators (feed), webhook endpoints and deliveries."""

from .deliveries import WebhookDelivery, WebhookRequest
from .endpoints import Endpoint
from .event_log import EventLogEntry, EventLogRetention
from .outcomes import Outcome
from .signing import new_secret, signatures

__all__ = [
    "Endpoint",
    "EventLogEntry",
    "EventLogRetention",
    "Outcome",
    "WebhookDelivery",
    "WebhookRequest",
    "new_secret",
    "signatures",
]
