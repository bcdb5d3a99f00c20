"""End a subscription when the payment of its current period is reversed; restore it when the reversal is undone."""

from sqlalchemy.orm import Session

from models import clock
from models.base import now
from models.log import get_logger
from models.outbox import record
from models.payments import Order, Subscription

log = get_logger(__name__)


def follow_money(session: Session, order: Order, *, reason: str) -> None:
    """End or restore the subscription whose period ``order`` paid for, if any.

    The caller holds the order's lock and has already updated its status.

    Only the current period counts: a refund of an earlier period does not end what was paid for since.
    """
    if order.subscription_id is None:
        return
    # The later subscription is locked here too: its order must not be locked after a subscription.
    later_id = Subscription.replacement_of(session, order.subscription_id) if order.is_owned else None
    ids = [order.subscription_id, later_id] if later_id else [order.subscription_id]
    locked = {each.id: (each, pending) for each, pending in Subscription.all_locked(session, ids)}
    subscription, waiting = locked[order.subscription_id]
    if subscription.paid_order_id != order.id:
        return
    if order.is_owned:
        may_regain = subscription.may_regain(at=clock.now())
        if may_regain and later_id and not _make_room(session, *locked[later_id]):
            log.error("subscription is not restored beside a newer one", subscription_id=subscription.id)
            return
        events = subscription.regain(at=clock.now())
    else:
        events = subscription.lose(reason=reason, at=clock.now())
        if waiting and events:
            waiting.expire(at=now())  # a payment that still arrives is returned automatically
    for event in events:
        record(session, subscription, event)


def _make_room(session: Session, later: Subscription, waiting: Order | None) -> bool:
    """End a later, never paid subscription to the same plan; return False if the later one has started."""
    if later.ended_at:
        return True
    if later.status != "incomplete":
        return False
    later.end(at=clock.now())
    if waiting and waiting.live_attempt:
        waiting.live_attempt.superseded = True  # a payment that still arrives is voided or returned
    elif waiting:
        waiting.expire(at=now())
    session.flush()
    return True
