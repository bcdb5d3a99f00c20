"""Integrations: the ordered event log for integrators (feed), webhook endpoints and deliveries."""

from .deliveries import Parcel, WebhookDelivery
from .endpoints import Endpoint
from .feed import LoggedEvent, PrunedFeed
from .outcomes import Outcome
from .signing import new_secret, signatures

__all__ = [
    "Endpoint",
    "LoggedEvent",
    "Outcome",
    "Parcel",
    "PrunedFeed",
    "WebhookDelivery",
    "new_secret",
    "signatures",
]
