"""Payments: offers, checkouts, orders, and what the providers' webhooks make of them.

The provider is called with no transaction open: an attempt is committed, the provider called with the attempt's id as
its idempotency key, the outcome recorded in a second transaction. Whoever dies in between is entered again.
"""

from collections.abc import Iterator

from workers._delivery import Delivery
from workers._metrics import watched
from workers.resources import resource

from . import (
    bundles,
    checkouts,
    coupons,
    disputes,
    facts,
    ledger,
    offers,
    orders,
    personal,
    plans,
    reconciliation,
    refunds,
    reviews,
    subscriptions,
    sync,
    upkeep,
    webhooks,
)
from .provider import Providers
from .stripe import Stripe
from .yookassa import YooKassa

__all__ = [
    "bundles",
    "checkouts",
    "coupons",
    "disputes",
    "facts",
    "ledger",
    "offers",
    "orders",
    "personal",
    "plans",
    "reconciliation",
    "refunds",
    "reviews",
    "subscriptions",
    "sync",
    "upkeep",
    "webhooks",
]

# Made when the worker starts, which a wrong key or address thus ends.
_PROVIDERS: Providers = {
    "stripe": watched("stripe", Stripe.configured()),
    "yookassa": watched("yookassa", YooKassa.configured()),
}


@resource
def providers(_delivery: Delivery) -> Iterator[Providers]:
    """The payment providers by their names. Call them with no transaction open."""
    yield _PROVIDERS
