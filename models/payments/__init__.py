"""Payments: offers on sale, orders for them, attempts to pay an order, and the events that providers send of it."""

from .attempts import Attempt, Snapshot, Terms
from .offers import Offer
from .orders import Order
from .provider_events import ProviderEvent
from .steps import OrderStep

__all__ = ["Attempt", "Offer", "Order", "OrderStep", "ProviderEvent", "Snapshot", "Terms"]
