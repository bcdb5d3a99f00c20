"""Facts that a provider reports are recorded in any order, and never refused."""

from dataclasses import replace
from datetime import timedelta
from itertools import permutations

import pytest
from sqlalchemy import select

from core.bus.outbox import OutboxEvent
from models.payments import DisputeSnapshot, Refund, RefundSnapshot
from models.payments.ledger import imbalances
from tests.integration.payments.harness import PaymentsHarness, make_offer
from workers.payments.database_metrics import payments_overdrawn
from workers.payments.disputes import apply_dispute
from workers.payments.refunds import apply_refund, sync_refund


@pytest.fixture
def checkout(harness, session):
    return harness.buy(make_offer(session))


def refund_snapshot(object_id: str, amount_minor: int, status: str = "succeeded", **overrides) -> RefundSnapshot:
    matching = RefundSnapshot(
        object_id=object_id, status=status, amount_minor=amount_minor, currency="USD", refund_id=None
    )
    return replace(matching, **overrides)


def dispute_snapshot(object_id: str, amount_minor: int, status: str) -> DisputeSnapshot:
    return DisputeSnapshot(
        object_id=object_id,
        status=status,
        amount_minor=amount_minor,
        currency="USD",
        reason="fraudulent",
        respond_by=None,
    )


def report(harness: PaymentsHarness, checkout, fact: RefundSnapshot | DisputeSnapshot) -> None:
    order = harness.order(checkout)
    apply = apply_refund if isinstance(fact, RefundSnapshot) else apply_dispute
    apply(harness.session, order, order.attempt(checkout["id"]), fact)
    harness.session.flush()


def has_access(harness: PaymentsHarness, checkout) -> bool:
    """Return whether a consumer of the order's events grants access."""
    of_order = OutboxEvent.aggregateid == str(checkout["order_id"])
    access = False
    for event in harness.session.scalars(select(OutboxEvent).where(of_order).order_by(OutboxEvent.aggregate_version)):
        payload = event.payload
        if event.type == "COURSE_PURCHASED" or payload.get("order_restored"):
            access = True
        elif payload.get("order_suspended") or payload.get("is_full_refund") or payload.get("order_charged_back"):
            access = False
    return access


PART_REFUNDED = refund_snapshot("re_1", 4000)
PART_RETURNED = refund_snapshot("re_1", 4000, "failed")
PART_OPEN, PART_LOST, PART_WON = (dispute_snapshot("dp_1", 900, status) for status in ("open", "lost", "won"))
ALL_OPEN, ALL_LOST, ALL_WON = (dispute_snapshot("dp_2", 4900, status) for status in ("open", "lost", "won"))
HISTORIES = [
    (PART_REFUNDED, PART_OPEN, PART_LOST),
    (PART_REFUNDED, PART_OPEN, PART_WON),
    (PART_REFUNDED, PART_RETURNED, PART_OPEN, PART_LOST),
    (PART_REFUNDED, ALL_OPEN, ALL_LOST),
    (PART_REFUNDED, ALL_OPEN, ALL_WON),
    (PART_REFUNDED, PART_LOST, refund_snapshot("re_2", 900)),
    (refund_snapshot("re_3", 4900), PART_OPEN, PART_WON),
    (PART_LOST, dispute_snapshot("dp_3", 4000, "lost")),
]


@pytest.mark.parametrize("facts", HISTORIES, ids=lambda facts: "-".join(f"{f.object_id}_{f.status}" for f in facts))
def test_access_and_ledger_converge_in_any_order(harness, session, checkout, facts):
    for order_of_facts in permutations(facts):
        with session.begin_nested() as trial:
            for fact in order_of_facts:
                report(harness, checkout, fact)
            order = harness.order(checkout)
            reversed_minor = order.successful_attempt.reversed_minor + order.successful_attempt.disputed_minor
            assert order.grants_access is (reversed_minor < 4900 and not order.successful_attempt.disputed_minor), (
                order_of_facts
            )
            assert has_access(harness, checkout) is order.grants_access, order_of_facts
            assert list(imbalances(session)) == []
            trial.rollback()


def test_refund_of_rest_after_partial_chargeback_ends_access(harness, checkout):
    report(harness, checkout, PART_OPEN)
    report(harness, checkout, PART_LOST)

    harness.refund(checkout)

    assert harness.order(checkout).status == "charged_back"
    assert not has_access(harness, checkout)


def test_dashboard_refund_after_dispute_is_booked(harness, session, checkout):
    payment_id = harness.attempt(checkout).payment_id
    client = harness.providers["stripe"]._client  # noqa: SLF001 a click in the dashboard
    at_provider = client.v1.refunds.create({"payment_intent": payment_id, "amount": 1000})
    dispute = str(harness.fake_stripe.post(f"/__dispute/{payment_id}")["id"])

    harness.receive_and_apply(dispute, "charge.dispute.created")
    harness.receive_and_apply(at_provider.id, "refund.created")

    [refund] = Refund.list_for_order(session, checkout["order_id"])
    assert (refund.status, refund.amount_minor) == ("succeeded", 1000)
    assert {event.status for event in harness.provider_events()} == {"applied"}
    assert list(imbalances(session)) == []


def test_refund_found_after_another_one_took_its_money_is_booked(harness, session, checkout):
    harness.fake_stripe.faults(error_429=3)  # Stripe's SDK tries three times
    harness.refund(checkout)
    harness.fake_stripe.faults(error_429=0)
    [lost] = Refund.list_for_order(session, checkout["order_id"])
    lost.created_at -= timedelta(hours=30)  # its idempotency key has expired
    sync_refund(harness.transactions, harness.providers, refund_id=lost.id)
    assert (lost.status, lost.problem) == ("failed", "not found at the provider")
    harness.refund(checkout)
    overdrawn = payments_overdrawn(session).scalar_one()

    for _ in range(2):
        report(harness, checkout, refund_snapshot("re_lost", 4900, refund_id=str(lost.id)))

    assert (lost.status, harness.attempt(checkout).refunded_minor) == ("succeeded", 9800)
    assert payments_overdrawn(session).scalar_one() == overdrawn + 1
    assert list(imbalances(session)) == []


def test_reported_refund_in_another_currency_goes_to_review_once(harness, session, checkout):
    for _ in range(2):
        report(harness, checkout, refund_snapshot("re_4", 1000, currency="EUR"))

    [refund] = Refund.list_for_order(session, checkout["order_id"])
    assert (refund.status, refund.problem) == ("review", "does not match: amount or currency")
