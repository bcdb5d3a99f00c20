"""Duplicate and late payments are owed to the buyer; the refund is retried until it succeeds."""

from datetime import timedelta
from uuid import uuid4

import pytest

from core.db import utc_now
from models.errors import PaymentOrderMismatch, PaymentRefused
from models.payments import PaymentAttempt, Refund
from models.payments.ledger import imbalances
from tests.integration.payments.harness import PaymentsHarness, make_offer
from workers.payments.database_metrics import owed_to_buyers, owed_to_buyers_seconds
from workers.payments.payment_sync import sync_attempt
from workers.payments.refunds import sync_refund, sync_refunds


class RefusingProvider:
    """A provider whose account has no balance for refunds."""

    def __init__(self, provider) -> None:
        self._provider = provider

    def __getattr__(self, name: str):
        return getattr(self._provider, name)

    def refund(self, _request):
        raise PaymentRefused("balance_insufficient")


@pytest.fixture
def duplicate_payment(harness, session) -> PaymentAttempt:
    """The second payment of an order, made at a real checkout session."""
    checkout = harness.buy(make_offer(session))
    order = harness.order(checkout)
    second = PaymentAttempt.create(order.attempt(checkout["id"]).terms, ttl=timedelta(hours=23), at=utc_now())
    order.attempts.append(second)
    session.flush()
    sync_attempt(harness.transactions, harness.providers, attempt_id=second.id)
    harness.fake_stripe.pay(second.checkout_session_id, "succeed")
    sync_attempt(harness.transactions, harness.providers, attempt_id=second.id)
    return second


def refunds_of(harness: PaymentsHarness, attempt: PaymentAttempt) -> list[Refund]:
    return [each for each in Refund.list_for_order(harness.session, attempt.order_id) if each.attempt_id == attempt.id]


def sync(harness: PaymentsHarness, refund: Refund, *, refused: bool = False) -> None:
    providers = {"stripe": RefusingProvider(harness.providers["stripe"])} if refused else harness.providers
    sync_refund(harness.transactions, providers, refund_id=refund.id)
    harness.session.flush()


def test_refused_owed_refund_is_retried_until_it_succeeds(harness, session, duplicate_payment):
    [first] = refunds_of(harness, duplicate_payment)
    sync(harness, first, refused=True)
    assert (first.status, first.problem) == ("failed", "balance_insufficient")
    assert timedelta(minutes=59) < first.next_sync_at - utc_now() <= timedelta(hours=1)

    sync(harness, first, refused=True)
    [_, second] = refunds_of(harness, duplicate_payment)
    sync(harness, second)
    [_, _, third] = refunds_of(harness, duplicate_payment)

    assert [each.status for each in (first, second, third)] == ["failed", "failed", "succeeded"]
    assert [each.next_sync_at for each in (first, second, third)] == [None] * 3
    assert third.owed_since == first.owed_since
    assert harness.refunded_at_provider({"id": duplicate_payment.id}) == [4900]
    assert list(imbalances(session)) == []


def test_owed_refund_retries_back_off_and_never_stop(harness, duplicate_payment):
    [refund] = refunds_of(harness, duplicate_payment)
    refund.owed_since = utc_now() - timedelta(days=30)

    sync(harness, refund, refused=True)

    assert timedelta(hours=11) < refund.next_sync_at - utc_now() <= timedelta(hours=12)


def test_repeated_sync_creates_one_replacement_refund(harness, duplicate_payment):
    [refund] = refunds_of(harness, duplicate_payment)
    sync(harness, refund, refused=True)

    for _ in range(2):
        sync(harness, refund)

    assert [each.status for each in refunds_of(harness, duplicate_payment)] == ["failed", "succeeded"]


def test_job_retries_due_owed_refund(harness, session, duplicate_payment):
    [refund] = refunds_of(harness, duplicate_payment)
    sync(harness, refund, refused=True)
    refund.next_sync_at = utc_now()
    session.flush()

    sync_refunds(session, harness.enqueue_after_commit)

    assert ("payments.sync_refund", {"refund_id": refund.id}) in harness.enqueued


def test_refused_staff_refund_is_not_retried(harness, session):
    checkout = harness.buy(make_offer(session))
    with pytest.raises(PaymentRefused):
        harness.refund(checkout, providers={"stripe": RefusingProvider(harness.providers["stripe"])})

    [refund] = Refund.list_for_order(session, checkout["order_id"])
    assert (refund.status, refund.next_sync_at) == ("failed", None)


def test_staff_can_refund_duplicate_payment(harness, session, duplicate_payment):
    [owed] = refunds_of(harness, duplicate_payment)
    sync(harness, owed, refused=True)

    refund = harness.refund({"order_id": duplicate_payment.order_id}, payment_id=duplicate_payment.id)
    sync(harness, owed)

    assert (refund["payment_id"], refund["status"], refund["amount_minor"]) == (duplicate_payment.id, "succeeded", 4900)
    # nothing is owed any more: the retry creates no third refund
    assert len(refunds_of(harness, duplicate_payment)) == 2
    assert harness.order({"order_id": duplicate_payment.order_id}).status == "paid"


@pytest.mark.parametrize(("outcome", "refunded"), [("won", [4900]), ("lost", [])])
def test_duplicate_payment_is_refunded_after_a_won_dispute(harness, session, duplicate_payment, outcome, refunded):
    dispute = f"/__dispute/{duplicate_payment.payment_id}"
    dispute_id = str(harness.fake_stripe.post(dispute)["id"])
    harness.receive_and_apply(dispute_id, "charge.dispute.created")
    [refused] = refunds_of(harness, duplicate_payment)
    for _ in range(2):
        sync(harness, refused)  # Stripe refunds no disputed payment; then nothing is left to refund
    assert (refused.status, refused.problem, refused.next_sync_at) == ("failed", "charge_disputed", None)

    harness.fake_stripe.post(dispute, outcome=outcome)
    harness.receive_and_apply(dispute_id, "charge.dispute.closed")
    for refund in refunds_of(harness, duplicate_payment):
        sync(harness, refund)

    assert harness.refunded_at_provider({"id": duplicate_payment.id}) == refunded
    assert list(imbalances(session)) == []


def test_duplicate_payment_is_refunded_after_a_failed_staff_refund(harness, session, duplicate_payment):
    [owed] = refunds_of(harness, duplicate_payment)
    sync(harness, owed, refused=True)
    by_staff = harness.refund({"order_id": duplicate_payment.order_id}, payment_id=duplicate_payment.id)
    sync(harness, owed)
    object_id = session.get_one(Refund, by_staff["id"]).object_id

    harness.fake_stripe.post(f"/__refund/{object_id}", outcome="fail")  # the buyer's bank returns it
    harness.receive_and_apply(object_id, "refund.failed")
    for refund in refunds_of(harness, duplicate_payment):
        sync(harness, refund)

    assert harness.refunded_at_provider({"id": duplicate_payment.id}) == [4900]
    assert list(imbalances(session)) == []


def test_refund_of_payment_of_another_order_is_rejected(harness, session, duplicate_payment):
    other = harness.buy(make_offer(session))

    for payment_id in (duplicate_payment.id, uuid4()):
        with pytest.raises(PaymentOrderMismatch):
            harness.refund(other, payment_id=payment_id)


def test_owed_refund_amount_and_age_metrics(harness, session, duplicate_payment):
    before = dict(owed_to_buyers(session).all())["USD"]
    [refund] = refunds_of(harness, duplicate_payment)
    sync(harness, refund, refused=True)
    refund.owed_since = utc_now() - timedelta(days=400)
    session.flush()
    assert dict(owed_to_buyers(session).all())["USD"] == before
    assert owed_to_buyers_seconds(session).scalar_one() >= 399 * 86400

    sync(harness, refund)

    assert dict(owed_to_buyers(session).all()).get("USD", 0) == before - 4900
