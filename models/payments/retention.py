"""Retention of the payments tables: finished provider events and order steps are deleted after the configured days.

Orders, ledger entries and operators' decisions are kept without limit.
"""

from datetime import datetime, timedelta

import settings
from models.retention import Expired

from .provider_events import ProviderEvent
from .steps import OrderStep


def expired(at: datetime) -> Expired:
    """Return the condition for rows to delete, by table."""
    return {
        ProviderEvent: ProviderEvent.finished_at < at - timedelta(days=settings.PROVIDER_EVENTS_KEPT_DAYS),
        OrderStep: OrderStep.at < at - timedelta(days=settings.ORDER_STEPS_KEPT_DAYS),
    }
