"""Refunds never exceed the capture, happen once, and are never lost."""

from datetime import timedelta
from functools import partial
from uuid import uuid4

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from core.bus.outbox import OutboxEvent
from core.db import session_factory, utc_now
from models.errors import (
    AlreadyPurchased,
    NotFound,
    OrderNotPaid,
    ProviderOutcomeUnknown,
    RefundTooLarge,
)
from models.payments import PaymentAttempt, Refund
from models.payments.ledger import imbalances
from tests.integration.payments.harness import CommittingTransactions, NestedTransactions, make_offer
from tests.integration.payments.test_ledger import entries_by_account
from tests.support.polling import run_concurrently
from tests.support.tasks import Killed
from workers.payments.payment_sync import sync_attempt
from workers.payments.refunds import list_refunds, refund_order, sync_refund, sync_refunds

CONCURRENCY = 24


@pytest.fixture
def course_id(session):
    return make_offer(session)


@pytest.fixture
def checkout(harness, course_id):
    return harness.buy(course_id)


def refund_of(harness, checkout) -> Refund:
    [refund] = Refund.list_for_order(harness.session, checkout["order_id"])
    return refund


def order_amounts(harness, checkout) -> tuple[str, int, int]:
    """Return the order's status, its pending and its completed refund amount."""
    view = harness.order_response(checkout)
    return view["status"], view["refund_pending_minor"], view["refunded_minor"]


def refund_events(session, checkout) -> list[tuple[int, bool]]:
    """Return the amount of each PAYMENT_REFUNDED and whether the whole order was refunded."""
    session.flush()
    of_order = OutboxEvent.aggregateid == str(checkout["order_id"])
    statement = select(OutboxEvent.payload).where(of_order, OutboxEvent.type == "PAYMENT_REFUNDED")
    events = session.scalars(statement.order_by(OutboxEvent.aggregate_version))
    return [(event["amount_minor"], event["is_full_refund"]) for event in events]


def sync(harness, refund: Refund) -> None:
    sync_refund(harness.transactions, harness.providers, refund_id=refund.id)


# Successful refunds.


def test_full_refund_ends_order_and_is_booked(harness, session, checkout):
    refund = harness.refund(checkout)
    assert (refund["status"], refund["amount_minor"]) == ("succeeded", 4900)
    assert order_amounts(harness, checkout) == ("refunded", 0, 4900)
    assert harness.refunded_at_provider(checkout) == [4900]
    assert entries_by_account(session, checkout, kind="refund") == {"provider.stripe.main": -4900, "refunds": 4900}
    assert refund_events(session, checkout) == [(4900, True)]
    assert list(imbalances(session)) == []


def test_partial_refunds_add_up_to_full_refund(harness, session, checkout):
    harness.refund(checkout, 1900)
    assert order_amounts(harness, checkout) == ("partially_refunded", 0, 1900)
    with pytest.raises(AlreadyPurchased):  # the buyer still has access
        harness.checkout(harness.order(checkout).course_id)
    assert harness.refund(checkout)["amount_minor"] == 3000
    assert order_amounts(harness, checkout) == ("refunded", 0, 4900)
    assert refund_events(session, checkout) == [(1900, False), (3000, True)]
    assert harness.refunded_at_provider(checkout) == [1900, 3000]
    listed = list_refunds(session, order_id=checkout["order_id"], user_id=harness.buyer, after=None, limit=20)
    assert [each["amount_minor"] for each in listed["items"]] == [1900, 3000]


def test_refunded_course_can_be_bought_again(harness, checkout):
    harness.refund(checkout)
    again = harness.buy(harness.order(checkout).course_id)
    assert again["order_id"] != checkout["order_id"]
    assert harness.order(again).status == "paid"


def test_refund_does_not_affect_other_orders(harness, session, checkout):
    # tutor#2346: a refund of order A revoked what order B had paid for.
    other = harness.buy(make_offer(session))
    harness.refund(checkout)
    assert order_amounts(harness, other) == ("paid", 0, 0)
    assert refund_events(session, other) == []


# Refused refunds.


@pytest.mark.parametrize("amount_minor", [4901, 10**12])
def test_refund_never_exceeds_capture(harness, checkout, amount_minor):
    with pytest.raises(RefundTooLarge):
        harness.refund(checkout, amount_minor)
    assert harness.refunded_at_provider(checkout) == []


def test_pending_refund_reduces_refundable_amount(harness, checkout):
    harness.fake_stripe.faults(pending_refunds=1)
    harness.refund(checkout, 4000)
    assert order_amounts(harness, checkout) == ("paid", 4000, 0)
    with pytest.raises(RefundTooLarge) as refusal:
        harness.refund(checkout, 901)
    assert str(refusal.value) == "At most 900 USD (minor units) can be refunded."


def test_refunded_order_is_not_refunded_again(harness, checkout):
    harness.refund(checkout)
    with pytest.raises(RefundTooLarge):
        harness.refund(checkout)


def test_unpaid_or_free_order_is_not_refunded(harness, session, course_id):
    unpaid = harness.checkout(course_id)
    free = harness.checkout(make_offer(session, price_minor=0))
    for checkout in (unpaid, free):
        with pytest.raises(OrderNotPaid):
            harness.refund(checkout)


def test_refund_of_unknown_order_is_not_found(harness, session, checkout):
    with pytest.raises(NotFound):
        harness.refund({"order_id": uuid4()})
    with pytest.raises(NotFound):
        list_refunds(session, order_id=checkout["order_id"], user_id=uuid4(), after=None, limit=20)


def test_database_rejects_refund_above_capture(harness, session, checkout):
    session.add(
        Refund.create(
            harness.attempt(checkout), 4900, command_id=uuid4(), reason="requested by the buyer", at=utc_now()
        )
    )
    harness.attempt(checkout).refund_pending_minor += 1
    session.flush()
    with pytest.raises(IntegrityError, match="exceeds what was captured"):
        session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))


# Crashes, lost responses and provider errors.


@pytest.mark.parametrize("killed_before", [2, 3, 4])
def test_crashed_refund_command_resumes_and_refunds_once(harness, checkout, killed_before):
    command_id = uuid4()
    crashing = NestedTransactions(harness.session, command_id=command_id)
    crashing.killed_before = killed_before
    with pytest.raises(Killed):
        harness.refund(checkout, 1900, transactions=crashing)
    refund = harness.refund(checkout, 1900, transactions=NestedTransactions(harness.session, command_id=command_id))
    assert refund["status"] == "succeeded"
    assert harness.refunded_at_provider(checkout) == [1900]
    assert order_amounts(harness, checkout) == ("partially_refunded", 0, 1900)


def test_resumed_command_finds_refund_completed_by_job(harness, checkout):
    command_id = uuid4()
    crashing = NestedTransactions(harness.session, command_id=command_id)
    crashing.killed_before = 2
    with pytest.raises(Killed):
        harness.refund(checkout, 1900, transactions=crashing)
    sync(harness, refund_of(harness, checkout))
    harness.refund(checkout, 1900, transactions=NestedTransactions(harness.session, command_id=command_id))
    assert harness.refunded_at_provider(checkout) == [1900]


def test_rate_limited_refund_is_completed_by_job(harness, checkout):
    harness.fake_stripe.faults(error_429=3)
    assert harness.refund(checkout)["status"] == "created"
    harness.fake_stripe.faults(error_429=0)
    sync(harness, refund_of(harness, checkout))
    assert harness.refunded_at_provider(checkout) == [4900]


def test_refund_with_expired_key_is_found_at_provider(harness, checkout):
    harness.fake_stripe.faults(drop_response_after_commit=3)
    harness.refund(checkout, 1900)
    harness.fake_stripe.faults(drop_response_after_commit=0)
    refund = refund_of(harness, checkout)
    refund.created_at -= timedelta(hours=30)
    sync(harness, refund)
    assert (refund.status, harness.refunded_at_provider(checkout)) == ("succeeded", [1900])


def test_expired_key_and_no_provider_refund_marks_failed(harness, checkout):
    harness.fake_stripe.faults(error_429=3)
    harness.refund(checkout)
    harness.fake_stripe.faults(error_429=0)
    refund = refund_of(harness, checkout)
    refund.created_at -= timedelta(hours=30)
    sync(harness, refund)
    assert (refund.status, refund.problem) == ("failed", "not found at the provider")
    assert order_amounts(harness, checkout) == ("paid", 0, 0)
    harness.refund(checkout)
    assert harness.refunded_at_provider(checkout) == [4900]


def test_job_enqueues_and_reschedules_due_refund(harness, session, checkout):
    harness.fake_stripe.faults(pending_refunds=1)
    harness.refund(checkout)
    refund = refund_of(harness, checkout)
    refund.next_sync_at = utc_now()
    session.flush()
    sync_refunds(session, harness.enqueue_after_commit)
    assert ("payments.sync_refund", {"refund_id": refund.id}) in harness.enqueued
    assert refund.next_sync_at > utc_now()


def test_refund_missing_at_provider_is_not_failed(harness, checkout):
    harness.fake_stripe.faults(pending_refunds=1)
    harness.refund(checkout)
    refund = refund_of(harness, checkout)
    refund.object_id = "re_lost"
    harness.session.flush()
    harness.attempt(checkout).payment_id = "pi_another"
    with pytest.raises(ProviderOutcomeUnknown, match=r"^Stripe did not return a definite result"):
        sync(harness, refund)
    assert refund.status == "pending"


# Reports of the provider.


def receive_refund_webhook(harness, refund: Refund, kind: str) -> None:
    harness.receive_and_apply(refund.object_id, kind)


def test_webhook_before_response_creates_no_second_refund(harness, session, checkout):
    crashing = harness.transactions
    crashing.killed_before = 3  # the provider has refunded, and the response is lost
    with pytest.raises(Killed):
        harness.refund(checkout, transactions=crashing)
    [refund] = harness.providers["stripe"].list_refunds(harness.attempt(checkout).payment_id)
    harness.receive_and_apply(refund.object_id, "refund.updated")
    assert order_amounts(harness, checkout) == ("refunded", 0, 4900)
    assert len(Refund.list_for_order(session, checkout["order_id"])) == 1


def test_refund_reversal_is_booked(harness, session, checkout):
    harness.refund(checkout)
    refund = refund_of(harness, checkout)
    harness.fake_stripe.post(f"/__refund/{refund.object_id}", outcome="fail")
    receive_refund_webhook(harness, refund, "refund.failed")
    assert order_amounts(harness, checkout) == ("paid", 0, 0)
    assert entries_by_account(session, checkout, kind="refund_reversed") == {
        "provider.stripe.main": 4900,
        "refunds": -4900,
    }
    assert list(imbalances(session)) == []


def test_dashboard_refund_is_booked(harness, session, checkout):
    client = harness.providers["stripe"]._client  # noqa: SLF001 a click in the dashboard
    at_provider = client.v1.refunds.create({"payment_intent": harness.attempt(checkout).payment_id, "amount": 1900})
    harness.receive_and_apply(at_provider.id, "refund.updated")
    refund = refund_of(harness, checkout)
    assert (refund.status, refund.object_id, refund.requested_by) == ("succeeded", at_provider.id, None)
    assert order_amounts(harness, checkout) == ("partially_refunded", 0, 1900)
    with pytest.raises(RefundTooLarge):
        harness.refund(checkout, 3001)
    assert list(imbalances(session)) == []


def test_charge_refunded_webhook_applies_refund(harness, checkout):
    client = harness.providers["stripe"]._client  # noqa: SLF001 a click in the dashboard
    refund = client.v1.refunds.create({"payment_intent": harness.attempt(checkout).payment_id})
    harness.receive_and_apply(refund.charge, "charge.refunded")
    assert order_amounts(harness, checkout) == ("refunded", 0, 4900)


def test_refund_with_mismatched_amount_goes_to_review(harness, checkout):
    harness.fake_stripe.faults(pending_refunds=1)
    harness.refund(checkout)
    refund = refund_of(harness, checkout)
    refund.amount_minor = 4000
    harness.attempt(checkout).refund_pending_minor = 4000
    sync(harness, refund)
    assert (refund.status, refund.next_sync_at) == ("review", None)
    assert order_amounts(harness, checkout) == ("paid", 4000, 0)


# Duplicate payments.


def test_duplicate_payment_is_refunded_automatically(harness, session, checkout, fake_stripe):
    # lago-api#5708: the session was open while another attempt was charged, and both were paid.
    order = harness.order(checkout)
    rival = PaymentAttempt.create(harness.attempt(checkout).terms, ttl=timedelta(hours=1), at=utc_now())
    order.attempts.append(rival)
    session.flush()
    sync_attempt(harness.transactions, harness.providers, attempt_id=rival.id)
    fake_stripe.pay(rival.checkout_session_id, "succeed")
    sync_attempt(harness.transactions, harness.providers, attempt_id=rival.id)
    assert rival.status == "duplicate"
    refund = refund_of(harness, checkout)
    assert (refund.reason, refund.requested_by) == ("paid twice", None)
    sync(harness, refund)
    assert (refund.status, rival.refunded_minor) == ("succeeded", 4900)
    assert order_amounts(harness, checkout) == ("paid", 0, 0)
    assert refund_events(session, checkout) == [(4900, False)]  # the order keeps its access
    assert entries_by_account(session, checkout, kind="refund")["owed_to_buyers"] == 4900
    assert list(imbalances(session)) == []


# Concurrent refunds.


def test_concurrent_refunds_never_exceed_capture(committed_checkout, stripe, fake_stripe):
    # hyperswitch#13182: concurrent refunds exceeded the capture.
    def refund() -> str:
        message = {
            "order_id": committed_checkout["order_id"],
            "reason": "requested by the buyer",
            "requested_by": uuid4(),
        }
        try:
            return refund_order(CommittingTransactions(), {"stripe": stripe}, amount_minor=1000, **message)["status"]
        except RefundTooLarge:
            return "too large"

    outcomes = run_concurrently(*[refund] * CONCURRENCY)
    assert sorted(outcomes) == ["succeeded"] * 4 + ["too large"] * (CONCURRENCY - 4)
    with session_factory("payments")() as session:
        attempt = session.get_one(PaymentAttempt, committed_checkout["id"])
        assert (attempt.refund_pending_minor, attempt.refunded_minor) == (0, 4000)
        assert list(imbalances(session)) == []
    [payment] = fake_stripe.payments_of(str(committed_checkout["order_id"]))
    assert payment["refunded_minor"] == 4000


def test_concurrent_runs_of_one_command_refund_once(committed_checkout, stripe, fake_stripe):
    command_id = uuid4()
    message = {"order_id": committed_checkout["order_id"], "reason": "requested by the buyer", "requested_by": uuid4()}
    entry = partial(refund_order, CommittingTransactions(command_id), {"stripe": stripe}, amount_minor=1000, **message)
    assert len({refund["id"] for refund in run_concurrently(*[entry] * CONCURRENCY)}) == 1
    [payment] = fake_stripe.payments_of(str(committed_checkout["order_id"]))
    assert payment["refunded_minor"] == 1000
