"""Decide whether a delivery may be sent now. Checked when it is sent, not when it is created."""

from collections.abc import Callable
from datetime import datetime, timedelta

import settings
from models.notifications import Contact, Delivery, DeliveryOutcome, DeliveryState
from models.notifications.preference_store import PreferenceStore

_DAY = timedelta(days=1)


def delivery_blocker(
    delivery: Delivery,
    contact: Contact,
    preference_store: PreferenceStore,
    *,
    still_applies: bool,
    at: datetime,
    sent_since: Callable[[Delivery, datetime], int],
) -> DeliveryOutcome | None:
    """Return why ``delivery`` is not sent at ``at``: SKIPPED (final) or HELD (until ``due_at``); None to send it.

    Mandatory deliveries ignore preferences, quiet hours and the daily limit. ``sent_since`` counts other deliveries of
    the same kind. It is called last, so that the limit also covers deliveries that were held during quiet hours.
    """
    if not still_applies:
        return DeliveryOutcome(DeliveryState.SKIPPED, "no_longer_applicable")
    if delivery.mandatory:
        return None
    preferences = preference_store.get(delivery.user_id)
    if not preferences.allow(delivery.category, delivery.channel):
        return DeliveryOutcome(DeliveryState.SKIPPED, "preference")
    if preferences.quiet_hours and (until := preferences.quiet_hours.until(at, contact.zone)):
        return DeliveryOutcome(DeliveryState.HELD, "quiet_hours", due_at=until)
    if sent_since(delivery, at - _DAY) >= settings.NOTIFICATIONS_PER_DAY:
        return DeliveryOutcome(DeliveryState.SKIPPED, "daily_limit")
    return None
