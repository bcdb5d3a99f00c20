"""Payments: offers, checkouts, orders, refunds, disputes, subscriptions and the providers' webhooks.

No transaction is open while a provider is called. The attempt is committed first, the provider is called with the
attempt's id as idempotency key, and the outcome is recorded in a second transaction. A task that crashes in between is
resumed: by redelivery of the command or by a periodic job.
"""

from collections.abc import Callable, Iterator

import settings
from models.errors import ProviderNotConfigured
from workers.runtime.dependencies import dependency
from workers.runtime.execution import TaskExecution
from workers.runtime.metrics import instrumented

from . import (
    bundles,
    checkouts,
    coupons,
    database_metrics,
    disputes,
    invoices,
    ledger,
    offers,
    orders,
    payment_sync,
    personal_data,
    plans,
    reconciliation,
    refunds,
    retention,
    reviews,
    subscriptions,
    webhooks,
)
from .provider import Provider, Providers
from .stripe import Stripe
from .yookassa import YooKassa

__all__ = [
    "bundles",
    "checkouts",
    "coupons",
    "database_metrics",
    "disputes",
    "invoices",
    "ledger",
    "offers",
    "orders",
    "payment_sync",
    "personal_data",
    "plans",
    "reconciliation",
    "refunds",
    "retention",
    "reviews",
    "subscriptions",
    "webhooks",
]

_FACTORIES: dict[str, Callable[[], Provider]] = {"stripe": Stripe.from_settings, "yookassa": YooKassa.from_settings}


class _ConfiguredProviders(dict[str, Provider]):
    """The configured providers by name. Indexing with another name raises ProviderNotConfigured."""

    def __missing__(self, name: str) -> Provider:
        raise ProviderNotConfigured(name)


# Created at import, so that a worker with an invalid key or URL does not start.
_PROVIDERS: Providers = _ConfiguredProviders(
    {name: instrumented(name, _FACTORIES[name]()) for name in settings.PAYMENT_PROVIDERS}
)


@dependency
def providers(_execution: TaskExecution) -> Iterator[Providers]:
    """Inject the payment providers by name. Call a provider only while no transaction is open."""
    yield _PROVIDERS
