"""What this service knows of a person, shown and forgotten. What was paid has to be kept, and names nobody."""

from uuid import UUID

from sqlalchemy.orm import Session

from models import clock
from models.events import KeptData, UserDeleted, UserExportRequested
from models.outbox import record
from models.payments import Attempt, Order, Refund, SavedMethod, Subscription
from models.personal import forget, lay_out
from workers import task

BOOKS = "the law on taxes and bookkeeping asks for every sale, in most countries for six to ten years"
LATE = "money may still come for it, and has to be booked or given back"


@task
def export_data(session: Session, *, event: UserExportRequested) -> None:
    """Lay out a person's orders and how they were paid."""
    orders = [
        {
            **order.view(),
            "attempts": [_shown(attempt) for attempt in order.attempts],
            "refunds": [refund.view() for refund in Refund.of_order(session, order.id)],
        }
        for order in Order.all_of(session, event.user_id)
    ]
    subscriptions = [each.view() for each in Subscription.all_of(session, event.user_id)]
    lay_out(session, "payments", event, {"orders": orders, "subscriptions": subscriptions})


@task
def erase_data(session: Session, *, event: UserDeleted) -> None:
    """Take out of a person's orders what they brought along; the orders stay, under a number that leads to nobody."""
    orders = Order.all_of(session, event.user_id)
    rows = sum(attempt.forget_buyer() for order in orders for attempt in order.attempts)
    rows += sum(refund.forget_buyer() for order in orders for refund in Refund.of_order(session, order.id))
    rows += _end_subscriptions(session, event.user_id) + SavedMethod.forget(session, event.user_id)
    paid = sum(order.paid_at is not None for order in orders)
    kept = []
    if paid:
        kept.append(KeptData(what=f"{paid} paid orders with their payments", why=BOOKS))
    if unpaid := len(orders) - paid:
        kept.append(KeptData(what=f"{unpaid} orders without a payment", why=LATE))
    forget(session, "payments", event, rows=rows, kept=kept)


def _end_subscriptions(session: Session, user_id: UUID) -> int:
    """End them, so that nobody is charged who has gone; their orders are locked already."""
    subscriptions = Subscription.all_of(session, user_id, lock=True)
    for subscription in subscriptions:
        subscription.receipt_email = None
        if subscription.ended_at is None:
            for told in subscription.end(at=clock.now(), reason="account_erased"):
                record(session, subscription, told)
    return len(subscriptions)


def _shown(attempt: Attempt) -> dict[str, object]:
    return {
        "provider": attempt.provider,
        "status": attempt.status,
        "amount_minor": attempt.amount_minor,
        "currency": attempt.currency,
        "captured_minor": attempt.captured_minor,
        "refunded_minor": attempt.refunded_minor,
        "success_url": attempt.success_url,
        "cancel_url": attempt.cancel_url,
        "receipt_email": attempt.receipt_email,
        "created_at": attempt.created_at,
    }
