"""Which rows of payments are kept for how long; money, orders and decisions stay for good."""

from datetime import datetime, timedelta

import settings
from models.retention import Expired

from .provider_events import ProviderEvent
from .steps import OrderStep


def expired(at: datetime) -> Expired:
    """Return by table the condition for rows that are pruned."""
    return {
        ProviderEvent: ProviderEvent.finished_at < at - timedelta(days=settings.PROVIDER_EVENTS_KEPT_DAYS),
        OrderStep: OrderStep.at < at - timedelta(days=settings.ORDER_STEPS_KEPT_DAYS),
    }
