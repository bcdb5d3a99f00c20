"""End a subscription when the payment of its current period is reversed; restore it when the reversal is undone."""

from sqlalchemy.orm import Session

from core import clock
from core.bus.outbox import record
from core.db import utc_now
from core.log import get_logger
from models.payments import Order, Subscription

log = get_logger(__name__)


def end_or_restore_subscription(session: Session, order: Order, *, reason: str) -> None:
    """End or restore the subscription whose period ``order`` paid for, if any.

    The caller holds the order's lock and has already updated its status.

    Only the current period counts: a refund of an earlier period does not end what was paid for since.
    """
    if order.subscription_id is None:
        return
    # The later subscription is locked here too: its order must not be locked after a subscription.
    later_id = Subscription.replacement_of(session, order.subscription_id) if order.grants_access else None
    ids = [order.subscription_id, later_id] if later_id else [order.subscription_id]
    locked = {each.id: (each, pending) for each, pending in Subscription.all_locked(session, ids)}
    subscription, waiting = locked[order.subscription_id]
    if subscription.paid_order_id != order.id:
        return
    if order.grants_access:
        may_regain = subscription.can_be_restored(at=clock.business_now())
        if may_regain and later_id and not _end_unpaid_replacement(session, *locked[later_id]):
            log.error("subscription is not restored because a newer one exists", subscription_id=subscription.id)
            return
        events = subscription.restore(at=clock.business_now())
    else:
        events = subscription.end_for_reversal(reason=reason, at=clock.business_now())
        if waiting and events:
            waiting.expire(at=utc_now())  # a payment that still arrives is returned automatically
    for event in events:
        record(session, subscription, event)


def _end_unpaid_replacement(session: Session, later: Subscription, waiting: Order | None) -> bool:
    """End a later, never paid subscription to the same plan; return False if the later one has started."""
    if later.ended_at:
        return True
    if later.status != "incomplete":
        return False
    later.end(at=clock.business_now())
    if waiting and waiting.live_attempt:
        waiting.live_attempt.superseded = True  # a payment that still arrives is voided or returned
    elif waiting:
        waiting.expire(at=utc_now())
    session.flush()
    return True
