"""Payments domain: offers, orders, payment attempts, refunds, disputes, subscriptions, ledger and provider events."""

from .attempts import Attempt, Snapshot, Terms
from .bundles import Bundle
from .coupons import Coupon, Redemption
from .disputes import Dispute, DisputeSnapshot
from .goods import Goods
from .offers import Offer
from .orders import Order
from .plans import Plan
from .provider_erasures import ProviderErasure
from .provider_events import ProviderEvent, ProviderPull
from .reconciliations import Movement, ReconciledDay, Reconciliation
from .refunds import Refund, RefundSnapshot
from .resolutions import Resolution
from .saved_methods import SavedMethod
from .steps import OrderStep
from .subscriptions import Subscription

__all__ = [
    "Attempt",
    "Bundle",
    "Coupon",
    "Dispute",
    "DisputeSnapshot",
    "Goods",
    "Movement",
    "Offer",
    "Order",
    "OrderStep",
    "Plan",
    "ProviderErasure",
    "ProviderEvent",
    "ProviderPull",
    "ReconciledDay",
    "Reconciliation",
    "Redemption",
    "Refund",
    "RefundSnapshot",
    "Resolution",
    "SavedMethod",
    "Snapshot",
    "Subscription",
    "Terms",
]
