"""Export and erase the personal data of this service.

Orders and payments are retained for bookkeeping, without data that identifies the user.
"""

from uuid import UUID

from sqlalchemy import delete
from sqlalchemy.orm import Session

from models import clock
from models.base import now
from models.events import KeptData, UserDeleted, UserExportRequested
from models.outbox import record
from models.payments import Attempt, Dispute, Order, ProviderErasure, Refund, Resolution, SavedMethod, Subscription
from models.personal import forget, lay_out
from workers import job, task
from workers._delivery import Sessions
from workers.resources import Poke

from .provider import Providers, provider_at

BOOKS = "the law on taxes and bookkeeping asks for every sale, in most countries for six to ten years"
CLOSING = "the provider is asked to close them, and they are cleared as soon as it has"
ERASURES_A_RUN = 100
LATE = "money may still come for it, and has to be booked or given back"


@task
def export_data(session: Session, *, event: UserExportRequested) -> None:
    """Export a user's orders with payments, refunds and disputes, the subscriptions and the saved payment methods."""
    orders = [
        {
            **order.view(),
            "attempts": [_shown(attempt) for attempt in order.attempts],
            "refunds": [refund.view() for refund in Refund.of_order(session, order.id)],
            "disputes": [dispute.view() for dispute in Dispute.of_order(session, order.id)],
            "redeemed_coupon": order.redemption.view() if order.redemption else None,
        }
        for order in Order.all_of(session, event.user_id)
    ]
    subscriptions = [each.view() for each in Subscription.all_of(session, event.user_id)]
    methods = [each.view() for each in SavedMethod.all_of(session, event.user_id)]
    data = {"orders": orders, "subscriptions": subscriptions, "saved_methods": methods}
    lay_out(session, "payments", event, data)


@task
def erase_data(session: Session, *, event: UserDeleted) -> None:
    """Erase the personal data in a user's orders, end the subscriptions and delete the saved payment methods.

    The orders remain under a user id that no longer identifies anyone. Live attempts are scheduled to be closed.
    """
    orders = Order.all_of(session, event.user_id)
    attempts = [attempt for order in orders for attempt in order.attempts]
    ProviderErasure.request(session, _customers(session, event.user_id, attempts), at=now())
    # Live attempts keep the data that provider calls need; ``sync.forget_erased`` clears it when they end.
    under_way = [attempt for attempt in attempts if attempt.is_live]
    for attempt in under_way:
        attempt.close_soon(at=now())
    for order in orders:
        order.let_coupon_go()
    rows = sum(attempt.forget_buyer() for attempt in attempts if not attempt.is_live)
    rows += sum(each.forget_buyer() for order in orders for each in Resolution.of_order(session, order.id))
    rows += sum(refund.forget_buyer() for order in orders for refund in Refund.of_order(session, order.id))
    rows += _end_subscriptions(session, event.user_id) + SavedMethod.forget(session, event.user_id)
    paid = sum(order.paid_at is not None for order in orders)
    kept = []
    if paid:
        kept.append(KeptData(what=f"{paid} paid orders with their payments", why=BOOKS))
    if unpaid := len(orders) - paid:
        kept.append(KeptData(what=f"{unpaid} orders without a payment", why=LATE))
    if under_way:
        kept.append(KeptData(what=f"{len(under_way)} payments under way with their addresses", why=CLOSING))
    forget(session, "payments", event, rows=rows, kept=kept)


@job(every_seconds=60)
def forget_customers(session: Session, poke: Poke) -> None:
    """Enqueue ``forget_customer`` for each provider customer of an erased user that is due for deletion."""
    for erasure in ProviderErasure.due(session, at=now(), limit=ERASURES_A_RUN):
        # Reschedule first: if the hint is lost or the provider does not respond, the erasure becomes due again.
        erasure.postpone(at=now())
        poke("payments.forget_customer", erasure_id=erasure.id)


@task
def forget_customer(sessions: Sessions, providers: Providers, *, erasure_id: UUID) -> None:
    """Delete one customer at its provider. Raises ProviderUnavailable, ProviderOutcomeUnknown."""
    with sessions.begin() as session:
        erasure = session.get(ProviderErasure, erasure_id)
    if erasure is None:
        return  # done by another worker
    provider_at(providers, erasure.provider, erasure.account).forget_customer(erasure.customer_id)
    with sessions.begin() as session:
        session.execute(delete(ProviderErasure).where(ProviderErasure.id == erasure_id))


def _customers(session: Session, user_id: UUID, attempts: list[Attempt]) -> list[tuple[str, str, str]]:
    """Return the provider customers of a user: (provider, account, customer id)."""
    known: list[Attempt | SavedMethod] = [*attempts, *SavedMethod.all_of(session, user_id)]
    return [(each.provider, each.account, each.customer_id) for each in known if each.customer_id]


def _end_subscriptions(session: Session, user_id: UUID) -> int:
    """End the user's subscriptions, so that an erased user is not charged; return their number.

    The caller holds the locks of the orders.
    """
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
