"""Integrations: what happened, in one order for those outside (feed), and who of them is told of it (endpoints)."""

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
