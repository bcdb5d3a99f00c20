"""Refunds that the buyer's bank returns: their effects are undone once, in any order of events."""

from functools import partial
from uuid import uuid4

import pytest
from sqlalchemy import select

from core.bus.outbox import OutboxEvent
from core.db import session_factory
from models.payments import Orders, PaymentAttempt, Refund
from models.payments.ledger import LedgerTransaction, imbalances
from models.payments.refunds import CUSTOMER_FACING_REASON
from tests.integration.payments.harness import CommittingTransactions, PaymentsHarness, event_types, make_offer
from tests.support.polling import run_concurrently
from tests.support.tasks import Killed
from workers.payments.refunds import apply_refund, list_refunds, refund_order

CONCURRENCY = 24


@pytest.fixture
def checkout(harness, session):
    return harness.buy(make_offer(session))


def only_refund(harness: PaymentsHarness, checkout) -> Refund:
    [refund] = Refund.list_for_order(harness.session, checkout["order_id"])
    return refund


def reverse_refund(harness: PaymentsHarness, refund: Refund) -> None:
    harness.fake_stripe.post(f"/__refund/{refund.object_id}", outcome="fail")


def reversal_events(session, order_id) -> list[tuple[int, bool]]:
    """Return the amount of each REFUND_REVERSED and whether it restored the order."""
    session.flush()
    of_order = (OutboxEvent.aggregateid == str(order_id)) & (OutboxEvent.type == "REFUND_REVERSED")
    events = session.scalars(select(OutboxEvent.payload).where(of_order).order_by(OutboxEvent.aggregate_version))
    return [(event["amount_minor"], event["order_restored"]) for event in events]


def test_refund_reversal_restores_order_once(harness, session, checkout):
    harness.refund(checkout)
    refund = only_refund(harness, checkout)
    reverse_refund(harness, refund)
    for _ in range(2):
        harness.receive_and_apply(refund.object_id, "refund.failed")
    order = harness.order(checkout)
    assert (order.status, order.successful_attempt.refunded_minor, order.successful_attempt.refundable_minor) == (
        "paid",
        0,
        4900,
    )
    assert reversal_events(session, order.id) == [(4900, True)]
    assert list(imbalances(session)) == []
    harness.refund(checkout)  # a second refund may be sent another way
    assert harness.event_types(checkout)[-3:] == ["PAYMENT_REFUNDED", "REFUND_REVERSED", "PAYMENT_REFUNDED"]


@pytest.mark.parametrize("kind", ["refund.updated", "refund.created"])
def test_late_refund_webhook_after_reversal_has_no_effect(harness, session, checkout, kind):
    harness.refund(checkout)
    refund = only_refund(harness, checkout)
    reverse_refund(harness, refund)
    harness.receive_and_apply(refund.object_id, "refund.failed")
    harness.receive_and_apply(refund.object_id, kind)  # the state that was fetched last is applied
    assert (harness.order(checkout).status, refund.status) == ("paid", "failed")
    assert reversal_events(session, checkout["order_id"]) == [(4900, True)]


def test_unknown_failed_refund_is_ignored(harness, session, checkout):
    crashing = harness.transactions
    crashing.killed_before = 3  # the provider has refunded, and the response is lost
    with pytest.raises(Killed):
        harness.refund(checkout, transactions=crashing)
    [refund] = harness.providers["stripe"].list_refunds(harness.attempt(checkout).payment_id)
    harness.fake_stripe.post(f"/__refund/{refund.object_id}", outcome="fail")
    harness.receive_and_apply(refund.object_id, "refund.failed")
    assert (harness.order(checkout).status, harness.attempt(checkout).refund_pending_minor) == ("paid", 0)
    assert "PAYMENT_REFUNDED" not in harness.event_types(checkout)
    assert reversal_events(session, checkout["order_id"]) == []


def test_first_partial_reversal_restores_order(harness, session, checkout):
    harness.refund(checkout, 1900)
    harness.refund(checkout)
    for refund in Refund.list_for_order(session, checkout["order_id"]):
        reverse_refund(harness, refund)
        harness.receive_and_apply(refund.object_id, "refund.failed")
    assert reversal_events(session, checkout["order_id"]) == [(1900, True), (3000, False)]
    assert harness.order(checkout).status == "paid"


def test_concurrent_reversal_updates_restore_once(committed_checkout, stripe, fake_stripe):
    checkout = committed_checkout
    message = {"order_id": checkout["order_id"], "reason": "requested by the buyer", "requested_by": uuid4()}
    refund_order(CommittingTransactions(), {"stripe": stripe}, amount_minor=None, **message)
    with session_factory("payments")() as session:
        attempt = session.get_one(PaymentAttempt, checkout["id"])
    [was] = stripe.list_refunds(attempt.payment_id)
    fake_stripe.post(f"/__refund/{was.object_id}", outcome="fail")
    [back] = stripe.list_refunds(attempt.payment_id)

    def apply_in_transaction(snapshot) -> None:
        with session_factory("payments").begin() as session:
            order = Orders(session).get_for_update(checkout["order_id"])
            apply_refund(session, order, order.attempt(checkout["id"]), snapshot)

    run_concurrently(*[partial(apply_in_transaction, back), partial(apply_in_transaction, was)] * (CONCURRENCY // 2))
    with session_factory("payments")() as session:
        assert session.get_one(PaymentAttempt, checkout["id"]).refunded_minor == 0
        assert event_types(session, checkout["order_id"]).count("REFUND_REVERSED") == 1
        of_order = LedgerTransaction.order_id == checkout["order_id"]
        kinds = sorted(session.scalars(select(LedgerTransaction.kind).where(of_order)))
        assert kinds == ["capture", "refund", "refund_reversed"]
        assert list(imbalances(session)) == []


def test_refund_can_keep_access(harness, session, checkout):
    harness.refund(checkout, keeps_access=True)
    of_order = (OutboxEvent.aggregateid == str(checkout["order_id"])) & (OutboxEvent.type == "PAYMENT_REFUNDED")
    [event] = session.scalars(select(OutboxEvent.payload).where(of_order))
    assert (event["is_full_refund"], event["keeps_access"]) == (True, True)


def test_refund_reason_hidden_from_buyer(harness, session, checkout):
    harness.refund(checkout, 100, reason="abusive phone call")
    order = {"order_id": checkout["order_id"]}
    [buyer_view] = list_refunds(session, **order, user_id=harness.buyer, after=None, limit=20)["items"]
    [staff_view] = list_refunds(session, **order, user_id=None, after=None, limit=20)["items"]
    assert (buyer_view["reason"], staff_view["reason"]) == (CUSTOMER_FACING_REASON, "abusive phone call")
