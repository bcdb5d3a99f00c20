"""Payments domain: offers, orders, payment attempts, refunds, disputes, subscriptions, ledger and provider events."""

from .billing_details import BillingDetails
from .bundles import Bundle
from .coupons import Coupon, Redemption
from .disputes import Dispute, DisputeSnapshot
from .invoices import Invoice
from .offers import Offer
from .order_history import OrderHistoryEntry
from .order_repository import Orders
from .orders import Order
from .payment_attempts import PaymentAttempt
from .payment_snapshots import PaymentSnapshot, PaymentTerms
from .plans import Plan
from .provider_erasures import ProviderErasure
from .provider_events import ProviderEvent, ProviderPull
from .quote import PurchaseQuote
from .reconciliations import ProviderTransaction, ReconciledDay, Reconciliation
from .refunds import Refund, RefundSnapshot
from .resolutions import Resolution
from .saved_methods import SavedMethod
from .subscription_repository import Subscriptions
from .subscriptions import Subscription

__all__ = [
    "BillingDetails",
    "Bundle",
    "Coupon",
    "Dispute",
    "DisputeSnapshot",
    "Invoice",
    "Offer",
    "Order",
    "OrderHistoryEntry",
    "Orders",
    "PaymentAttempt",
    "PaymentSnapshot",
    "PaymentTerms",
    "Plan",
    "ProviderErasure",
    "ProviderEvent",
    "ProviderPull",
    "ProviderTransaction",
    "PurchaseQuote",
    "ReconciledDay",
    "Reconciliation",
    "Redemption",
    "Refund",
    "RefundSnapshot",
    "Resolution",
    "SavedMethod",
    "Subscription",
    "Subscriptions",
]
