"""Payments: offers on sale, orders for them, attempts to pay an order, refunds, and the events that providers send."""

from .attempts import Attempt, Snapshot, Terms
from .offers import Offer
from .orders import Order
from .provider_events import ProviderEvent
from .refunds import Refund, RefundSnapshot
from .steps import OrderStep

__all__ = ["Attempt", "Offer", "Order", "OrderStep", "ProviderEvent", "Refund", "RefundSnapshot", "Snapshot", "Terms"]
