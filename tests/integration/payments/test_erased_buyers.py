"""An erased buyer pays nothing more: sessions expire, late payments are refunded, providers delete the customer.

An export before the erasure contains everything that the service has about the buyer.
"""

from datetime import timedelta

import pytest
from sqlalchemy import select

from core.bus.export_parts import ExportPart
from core.db import utc_now
from models.errors import AccountErased, ProviderOutcomeUnknown
from models.events import UserDeleted, UserExportRequested
from models.payments import Order, Orders, ProviderErasure, Refund, SavedMethod
from models.payments.ledger import imbalances
from tests.integration.payments.harness import PaymentsHarness, make_coupon, make_offer
from tests.integration.payments.subscription_steps import start, subscribe
from tests.support.events import build_event
from workers.payments.database_metrics import provider_erasures_seconds
from workers.payments.personal_data import erase_data, export_data, forget_customer, forget_customers
from workers.payments.refunds import sync_refund


@pytest.fixture
def harness(harness_with_yookassa) -> PaymentsHarness:
    return harness_with_yookassa


def erase(harness: PaymentsHarness) -> None:
    erase_data(harness.session, event=build_event(UserDeleted, user_id=harness.buyer))
    harness.session.flush()


def refund_of(harness: PaymentsHarness, checkout) -> Refund:
    [refund] = Refund.list_for_order(harness.session, checkout["order_id"])
    sync_refund(harness.transactions, harness.providers, refund_id=refund.id)
    return refund


def erasures(harness: PaymentsHarness, provider: str = "stripe") -> list[ProviderErasure]:
    harness.session.flush()
    return list(harness.session.scalars(select(ProviderErasure).where(ProviderErasure.provider == provider)))


def customers(harness: PaymentsHarness) -> set[str]:
    """Return the ids of Stripe's customers."""
    client = harness.providers["stripe"]._client  # noqa: SLF001 the adapter does not need this list
    return {customer.id for customer in client.v1.customers.list({"limit": 100}).data}


def test_erasure_expires_open_session_and_clears_addresses(harness, session):
    checkout = harness.checkout(make_offer(session))
    erase(harness)
    assert harness.attempt(checkout).next_sync_at is not None

    harness.sync(checkout)

    attempt = harness.attempt(checkout)
    assert harness.fake_stripe.pay(attempt.checkout_session_id, "succeed").status_code == 409
    assert (attempt.checkout_session_open, attempt.success_url, attempt.receipt_email) == (False, "", None)


def test_authorization_of_erased_buyer_is_voided(harness, session):
    course_id = make_offer(session, price_minor=199000, currency="RUB")
    checkout = harness.checkout(course_id, provider="yookassa")
    erase(harness)
    harness.sync(checkout)
    harness.pay(checkout)  # YooKassa's checkout session cannot be expired

    harness.sync(checkout)

    assert harness.fake_yookassa.payments_of(str(checkout["order_id"])) == []
    assert harness.attempt(checkout).status == "canceled"


def test_payment_after_erasure_is_refunded(harness, session):
    checkout = harness.checkout(make_offer(session))
    harness.pay(checkout)
    erase(harness)

    harness.sync(checkout)
    refund = refund_of(harness, checkout)

    assert (harness.attempt(checkout).status, harness.order(checkout).status) == ("duplicate", "expired")
    assert (refund.status, refund.reason) == ("succeeded", "account erased")
    assert refund.owed_since
    assert harness.refunded_at_provider(checkout) == [4900]
    assert "COURSE_PURCHASED" not in harness.event_types(checkout)
    assert list(imbalances(session)) == []


def test_unopened_session_is_not_opened_after_erasure(harness, session):
    harness.fake_stripe.faults(error_500=3)
    course_id = make_offer(session)
    with pytest.raises(Exception, match="has not responded"):
        harness.checkout(course_id)
    harness.fake_stripe.faults(error_500=0)
    [order] = session.scalars(select(Order).where(Order.user_id == harness.buyer))
    [attempt] = Orders(session).get_for_update(order.id).attempts
    pages = len(harness.checkout_sessions())
    erase(harness)

    harness.sync({"id": attempt.id})

    assert attempt.status == "expired"
    assert len(harness.checkout_sessions()) == pages


def test_card_of_payment_after_erasure_is_not_saved(harness, session, make_plan):
    checkout = harness.checkout(plan_id=make_plan().id)
    harness.pay(checkout)
    erase(harness)

    harness.sync(checkout)

    assert session.scalars(select(SavedMethod).where(SavedMethod.user_id == harness.buyer)).all() == []
    assert refund_of(harness, checkout).status == "succeeded"
    [erasure] = erasures(harness)
    assert erasure.customer_id in customers(harness)


def test_provider_customer_of_erased_buyer_is_deleted(harness, session, make_plan):
    subscribe(harness, make_plan(), "stripe")
    [method] = SavedMethod.list_for_user(session, harness.buyer)
    erase(harness)
    [erasure] = erasures(harness)
    assert erasure.customer_id == method.customer_id
    erasure.requested_at = utc_now() - timedelta(days=400)
    session.flush()
    assert provider_erasures_seconds(session).scalar_one() >= 399 * 86400

    forget_customers(session, harness.enqueue_after_commit)
    assert ("payments.forget_customer", {"erasure_id": erasure.id}) in harness.enqueued
    harness.fake_stripe.faults(error_500=3)
    with pytest.raises(ProviderOutcomeUnknown):
        forget_customer(harness.transactions, harness.providers, erasure_id=erasure.id)
    harness.fake_stripe.faults(error_500=0)
    for _ in range(2):
        forget_customer(harness.transactions, harness.providers, erasure_id=erasure.id)

    assert erasures(harness) == []
    assert provider_erasures_seconds(session).scalar_one() < 399 * 86400
    assert method.customer_id not in customers(harness)
    harness.providers["stripe"].delete_customer(method.customer_id)  # deleting a deleted customer is no error


def test_export_contains_saved_methods_disputes_and_coupons(harness, session, make_plan):
    subscribe(harness, make_plan(), "stripe")
    code = make_coupon(session)
    checkout = harness.buy(make_offer(session), coupon=code)
    dispute = harness.fake_stripe.post(f"/__dispute/{harness.attempt(checkout).payment_id}")
    harness.receive_and_apply(dispute["id"], "charge.dispute.created")

    export_data(session, event=build_event(UserExportRequested, user_id=harness.buyer))

    data = session.get_one(ExportPart, ("payments", harness.buyer)).data
    assert [method["provider"] for method in data["saved_methods"]] == ["stripe"]
    [order] = [order for order in data["orders"] if order["redeemed_coupon"]]
    assert order["redeemed_coupon"]["code"] == code
    assert [each["provider_id"] for each in order["disputes"]] == [dispute["id"]]


def test_erased_buyer_cannot_start_checkout(harness, session, make_plan):
    erase(harness)

    with pytest.raises(AccountErased):
        harness.checkout(make_offer(session))
    with pytest.raises(AccountErased):
        start(harness, make_plan(), "stripe")
