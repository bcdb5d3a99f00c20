"""Payments: checkouts, orders, refunds, subscriptions, the ledger and provider webhooks."""

from . import (
    bundles,
    checkouts,
    coupons,
    disputes,
    invoices,
    ledger,
    orders,
    plans,
    refunds,
    reviews,
    subscriptions,
    webhooks,
)
from .blueprint import blp

# Importing the modules registers their routes on blp.
__all__ = [
    "blp",
    "bundles",
    "checkouts",
    "coupons",
    "disputes",
    "invoices",
    "ledger",
    "orders",
    "plans",
    "refunds",
    "reviews",
    "subscriptions",
    "webhooks",
]
