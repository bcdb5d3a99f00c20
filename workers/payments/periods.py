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
    subscription, waiting = Subscription.locked(session, order.subscription_id)
    if subscription.paid_order_id != order.id:
        return
    if order.is_owned:
        if subscription.may_regain(at=clock.now()) and not _make_room(session, subscription):
            log.error("subscription is not restored beside a newer one", subscription_id=subscription.id)
            return
        events = subscription.regain(at=clock.now())
    else:
        events = subscription.lose(reason=reason, at=clock.now())
        if waiting and events:
            waiting.expire(at=now())  # a payment that still arrives is returned automatically
    for event in events:
        record(session, subscription, event)


def _make_room(session: Session, subscription: Subscription) -> bool:
    """End a later, never paid subscription to the same plan; return False if the later one has started."""
    later_id = subscription.replaced_by(session)
    if later_id is None:
        return True
    later, waiting = Subscription.locked(session, later_id)
    if later.status != "incomplete":
        return False
    later.end(at=clock.now())
    if waiting and waiting.live_attempt:
        waiting.live_attempt.superseded = True  # a payment that still arrives is voided or returned
    elif waiting:
        waiting.expire(at=now())
    session.flush()
    return True
