"""What this service knows of a person, shown and forgotten. What was paid has to be kept, and names nobody."""

from sqlalchemy.orm import Session

from models.events import KeptData, UserDeleted, UserExportRequested
from models.payments import Attempt, Order, Refund
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
    lay_out(session, "payments", event, {"orders": orders})


@task
def erase_data(session: Session, *, event: UserDeleted) -> None:
    """Take out of a person's orders what they brought along; the orders stay, under a number that leads to nobody."""
    orders = Order.all_of(session, event.user_id)
    rows = sum(attempt.forget_buyer() for order in orders for attempt in order.attempts)
    rows += sum(refund.forget_buyer() for order in orders for refund in Refund.of_order(session, order.id))
    paid = sum(order.paid_at is not None for order in orders)
    kept = []
    if paid:
        kept.append(KeptData(what=f"{paid} paid orders with their payments", why=BOOKS))
    if unpaid := len(orders) - paid:
        kept.append(KeptData(what=f"{unpaid} orders without a payment", why=LATE))
    forget(session, "payments", event, rows=rows, kept=kept)


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
