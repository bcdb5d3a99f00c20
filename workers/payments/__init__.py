"""Payments: offers, checkouts, orders, and what the providers' webhooks make of them.

The provider is called with no transaction open: an attempt is committed, the provider called with the attempt's id as
its idempotency key, the outcome recorded in a second transaction. Whoever dies in between is entered again.
"""

from collections.abc import Callable, Iterator

import settings
from models.errors import ProviderNotOffered
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
from .provider import Provider, Providers
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

_CONFIGURED: dict[str, Callable[[], Provider]] = {"stripe": Stripe.configured, "yookassa": YooKassa.configured}


class _Offered(dict[str, Provider]):
    """The providers by name; a name that has no keys raises ProviderNotOffered."""

    def __missing__(self, name: str) -> Provider:
        raise ProviderNotOffered(name)


# Made when the worker starts, which a wrong key or address thus ends.
_PROVIDERS: Providers = _Offered({name: watched(name, _CONFIGURED[name]()) for name in settings.PAYMENT_PROVIDERS})


@resource
def providers(_delivery: Delivery) -> Iterator[Providers]:
    """The payment providers by their names. Call them with no transaction open."""
    yield _PROVIDERS
