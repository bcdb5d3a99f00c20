"""Retention of the payments tables: finished provider events and order steps are deleted after the configured days.

Orders, ledger entries and operators' decisions are kept without limit.
"""

from datetime import datetime, timedelta

import settings
from core.bus.retention import ExpiredRows

from .order_history import OrderHistoryEntry
from .provider_events import ProviderEvent


def expired_rows(at: datetime) -> ExpiredRows:
    """Return the condition for rows to delete, by table."""
    return {
        ProviderEvent: ProviderEvent.finished_at < at - timedelta(days=settings.PROVIDER_EVENTS_RETENTION_DAYS),
        OrderHistoryEntry: OrderHistoryEntry.at < at - timedelta(days=settings.ORDER_HISTORY_RETENTION_DAYS),
    }
