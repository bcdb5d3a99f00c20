"""Payments: offers, checkouts, orders, refunds, disputes, subscriptions and the providers' webhooks.

No transaction is open while a provider is called. The attempt is committed first, the provider is called with the
attempt's id as idempotency key, and the outcome is recorded in a second transaction. A task that crashes in between is
resumed: by redelivery of the command or by a periodic job.
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
    """The configured providers by name. Indexing with another name raises ProviderNotOffered."""

    def __missing__(self, name: str) -> Provider:
        raise ProviderNotOffered(name)


# Created at import, so that a worker with an invalid key or URL does not start.
_PROVIDERS: Providers = _Offered({name: watched(name, _CONFIGURED[name]()) for name in settings.PAYMENT_PROVIDERS})


@resource
def providers(_delivery: Delivery) -> Iterator[Providers]:
    """Inject the payment providers by name. Call a provider only while no transaction is open."""
    yield _PROVIDERS
