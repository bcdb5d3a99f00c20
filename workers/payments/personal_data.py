"""Export and erase the personal data of this service.

Orders and payments are retained for bookkeeping, without data that identifies the user.
"""

from uuid import UUID

from sqlalchemy import delete
from sqlalchemy.orm import Session

from core import clock
from core.bus.outbox import record
from core.db import utc_now
from models.commands import ForgetCustomer
from models.events import RetainedData, UserDeleted, UserExportRequested
from models.payments import (
    BillingDetails,
    Dispute,
    Invoice,
    Orders,
    PaymentAttempt,
    ProviderErasure,
    Refund,
    Resolution,
    SavedMethod,
    Subscriptions,
)
from models.payments.order_responses import order_response
from models.personal_data import erase_personal_data, store_export_part
from workers import job, task
from workers.runtime.dependencies import EnqueueAfterCommit
from workers.runtime.execution import Transactions

from .provider import Providers, provider_at

BOOKS = "tax and accounting laws require records of every sale, in most countries for six to ten years"
CLOSING = "the provider has been asked to close them; they are deleted when it confirms"
ERASURES_A_RUN = 100
LATE = "a payment may still arrive, which has to be booked or refunded"


@task
def export_data(session: Session, *, event: UserExportRequested) -> None:
    """Export a user's orders with payments, refunds and disputes, the subscriptions and the saved payment methods."""
    orders = [
        {
            **order_response(order),
            "attempts": [_shown(attempt) for attempt in order.attempts],
            "refunds": [refund.to_response() for refund in Refund.list_for_order(session, order.id)],
            "disputes": [dispute.to_response() for dispute in Dispute.list_for_order(session, order.id)],
            "redeemed_coupon": order.redemption.to_export() if order.redemption else None,
        }
        for order in Orders(session).list_for_user_for_update(event.user_id)
    ]
    subscriptions = [each.to_response() for each in Subscriptions(session).list_for_user(event.user_id)]
    methods = [each.to_export() for each in SavedMethod.list_for_user(session, event.user_id)]
    data = {
        "orders": orders,
        "subscriptions": subscriptions,
        "saved_methods": methods,
        "invoices": [each.to_export() for each in Invoice.list_for_user(session, event.user_id)],
        "billing_details": BillingDetails.get(session, event.user_id).details,
    }
    store_export_part(session, "payments", event, data)


@task
def erase_data(session: Session, *, event: UserDeleted) -> None:
    """Erase the personal data in a user's orders, end the subscriptions and delete the saved payment methods.

    The orders remain under a user id that no longer identifies anyone. Live attempts are scheduled to be closed.
    """
    orders = Orders(session).list_for_user_for_update(event.user_id)
    attempts = [attempt for order in orders for attempt in order.attempts]
    ProviderErasure.request(session, _customers(session, event.user_id, attempts), at=utc_now())
    # Live attempts keep the data that provider calls need; ``payment_flow`` clears it when they end.
    under_way = [attempt for attempt in attempts if attempt.is_live]
    for attempt in under_way:
        attempt.schedule_close(at=utc_now())
    for order in orders:
        order.release_coupon()
    rows = sum(attempt.clear_personal_data() for attempt in attempts if not attempt.is_live)
    rows += sum(each.clear_personal_data() for order in orders for each in Resolution.list_for_order(session, order.id))
    rows += sum(refund.clear_personal_data() for order in orders for refund in Refund.list_for_order(session, order.id))
    rows += BillingDetails.delete(session, event.user_id)
    rows += _end_subscriptions(session, event.user_id) + SavedMethod.delete_for_user(session, event.user_id)
    paid = sum(order.paid_at is not None for order in orders)
    kept = []
    if paid:
        kept.append(RetainedData(description=f"{paid} paid orders with their payments", reason=BOOKS))
    if named := sum(each.buyer is not None for each in Invoice.list_for_user(session, event.user_id)):
        kept.append(RetainedData(description=f"{named} invoices with the billing details given for them", reason=BOOKS))
    if unpaid := len(orders) - paid:
        kept.append(RetainedData(description=f"{unpaid} orders without a payment", reason=LATE))
    if under_way:
        kept.append(
            RetainedData(description=f"{len(under_way)} payments under way with their addresses", reason=CLOSING)
        )
    erase_personal_data(session, "payments", event, rows=rows, retained=kept)


@job
def forget_customers(session: Session, enqueue_after_commit: EnqueueAfterCommit) -> None:
    """Enqueue ``forget_customer`` for each provider customer of an erased user that is due for deletion."""
    for erasure in ProviderErasure.due(session, at=utc_now(), limit=ERASURES_A_RUN):
        # Reschedule first: if the hint is lost or the provider does not respond, the erasure becomes due again.
        erasure.postpone(at=utc_now())
        enqueue_after_commit(ForgetCustomer(erasure_id=erasure.id))


@task
def forget_customer(transactions: Transactions, providers: Providers, *, erasure_id: UUID) -> None:
    """Delete one customer at its provider. Raises ProviderUnavailable, ProviderOutcomeUnknown."""
    with transactions.begin() as session:
        erasure = session.get(ProviderErasure, erasure_id)
    if erasure is None:
        return  # done by another worker
    provider_at(providers, erasure.provider, erasure.account).delete_customer(erasure.customer_id)
    with transactions.begin() as session:
        session.execute(delete(ProviderErasure).where(ProviderErasure.id == erasure_id))


def _customers(session: Session, user_id: UUID, attempts: list[PaymentAttempt]) -> list[tuple[str, str, str]]:
    """Return the provider customers of a user: (provider, account, customer id)."""
    known: list[PaymentAttempt | SavedMethod] = [*attempts, *SavedMethod.list_for_user(session, user_id)]
    return [(each.provider, each.account, each.customer_id) for each in known if each.customer_id]


def _end_subscriptions(session: Session, user_id: UUID) -> int:
    """End the user's subscriptions, so that an erased user is not charged; return their number.

    The caller holds the locks of the orders.
    """
    subscriptions = Subscriptions(session).list_for_user(user_id, for_update=True)
    for subscription in subscriptions:
        subscription.receipt_email = None
        if subscription.ended_at is None:
            for event in subscription.end(at=clock.business_now(), reason="account_erased"):
                record(session, subscription, event)
    return len(subscriptions)


def _shown(attempt: PaymentAttempt) -> dict[str, object]:
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
