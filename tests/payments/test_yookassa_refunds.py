"""Refunds at YooKassa: the same guarantees as at Stripe."""

import pytest

from models.errors import PaymentRefused
from models.payments import Refund
from tests.payments.harness import PaymentsHarness, make_offer
from workers.payments.refunds import sync_refund


@pytest.fixture
def harness(harness_with_yookassa) -> PaymentsHarness:
    return harness_with_yookassa


@pytest.fixture
def checkout(harness, session):
    course_id = make_offer(session, price_minor=199000, currency="RUB")
    return harness.buy(course_id, provider="yookassa", receipt_email="ann@example.com")


def refund_of(harness, checkout) -> Refund:
    [refund] = Refund.list_for_order(harness.session, checkout["order_id"])
    return refund


def refunded_amounts(harness, checkout) -> list[int]:
    refunds = harness.providers["yookassa"].list_refunds(harness.attempt(checkout).payment_id)
    return [refund.amount_minor for refund in refunds if refund.status == "succeeded"]


def test_refund_amount_is_exact(harness, checkout):
    assert harness.refund(checkout, 110)["status"] == "succeeded"
    assert refunded_amounts(harness, checkout) == [110]
    assert harness.order_response(checkout)["refunded_minor"] == 110


def test_refund_receipt_is_registered(harness, checkout):
    harness.refund(checkout)
    [made] = harness.providers["yookassa"]._refunds.list({"payment_id": harness.attempt(checkout).payment_id}).items  # noqa: SLF001 the SDK itself
    assert made.receipt_registration == "succeeded"


@pytest.mark.parametrize("fault", ["error_500", "drop_response_after_commit"])
def test_unknown_refund_is_completed_by_job(harness, checkout, fault):
    harness.fake_yookassa.faults(**{fault: 1})
    assert harness.refund(checkout)["status"] == "unknown"
    sync_refund(harness.transactions, harness.providers, refund_id=refund_of(harness, checkout).id)
    assert (refund_of(harness, checkout).status, refunded_amounts(harness, checkout)) == ("succeeded", [199000])


def test_refund_webhook_completes_pending_refund_once(harness, checkout):
    harness.fake_yookassa.faults(pending_refunds=1)
    assert harness.refund(checkout)["status"] == "pending"
    refund = refund_of(harness, checkout)
    harness.fake_yookassa.post(f"/__refund/{refund.object_id}", outcome="succeed")
    for _ in range(2):
        harness.receive_and_apply(refund.object_id, "refund.succeeded", provider="yookassa")
    assert (refund.status, harness.order(checkout).status) == ("succeeded", "refunded")
    assert harness.event_types(checkout).count("PAYMENT_REFUNDED") == 1


def test_canceled_refund_is_found_by_sync(harness, checkout):
    harness.fake_yookassa.faults(pending_refunds=1)
    harness.refund(checkout)
    refund = refund_of(harness, checkout)
    harness.fake_yookassa.post(f"/__refund/{refund.object_id}", outcome="fail")
    sync_refund(harness.transactions, harness.providers, refund_id=refund.id)
    assert (refund.status, refund.problem) == ("failed", "rejected_by_payee")
    assert harness.order_response(checkout)["refund_pending_minor"] == 0


def test_refused_refund_frees_amount(harness, checkout):
    # A refund in YooKassa's dashboard is not applied yet.
    adapter = harness.providers["yookassa"]
    amount = {"value": "1990.00", "currency": "RUB"}
    adapter._refunds.create({"payment_id": harness.attempt(checkout).payment_id, "amount": amount}, "dashboard")  # noqa: SLF001 the SDK itself
    with pytest.raises(PaymentRefused):
        harness.refund(checkout)
    assert harness.order_response(checkout)["refund_pending_minor"] == 0
