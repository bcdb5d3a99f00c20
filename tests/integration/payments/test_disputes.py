"""Disputes: a bank withdraws a payment and decides. Each outcome is applied once, in any order of events."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import permutations

import pytest
from sqlalchemy import select

from core.bus.outbox import OutboxEvent
from core.db import session_factory, utc_now
from models.errors import AlreadyPurchased, RefundTooLarge
from models.payments import Dispute, DisputeSnapshot, Orders, PaymentAttempt, ProviderTransaction, Reconciliation
from models.payments.ledger import LedgerTransaction, imbalances
from models.payments.reconciliations import DAY
from tests.integration.payments.harness import (
    PaymentsHarness,
    event_types,
    make_offer,
    paid_snapshot,
    timeline_steps,
)
from tests.integration.payments.test_ledger import entries_by_account
from tests.support.polling import run_concurrently
from workers.payments.disputes import apply_dispute, list_disputes
from workers.payments.ledger import list_ledger_entries
from workers.payments.payment_flow import apply_payment_snapshot

CONCURRENCY = 24
DISPUTE_ENTRIES = {"provider.stripe.main": -4900, "disputes": 4900}
DISPUTE_WON_ENTRIES = {"provider.stripe.main": 4900, "disputes": -4900}


@pytest.fixture
def checkout(harness, session):
    return harness.buy(make_offer(session))


def post_dispute(harness: PaymentsHarness, checkout, **message) -> str:
    """Open, win or lose a dispute at the fake; returns the dispute's id."""
    return str(harness.fake_stripe.post(f"/__dispute/{harness.attempt(checkout).payment_id}", **message)["id"])


def receive_dispute_webhooks(harness: PaymentsHarness, object_id: str, *kinds: str) -> None:
    for kind in kinds:
        harness.receive_and_apply(object_id, f"charge.dispute.{kind}")


def dispute_of(harness: PaymentsHarness, checkout) -> Dispute:
    harness.session.flush()
    [dispute] = harness.session.scalars(select(Dispute).where(Dispute.order_id == checkout["order_id"]))
    return dispute


def order_state(harness: PaymentsHarness, checkout) -> tuple[str, int, int]:
    """Return the order's status, its disputed amount and its charged back amount."""
    attempt = harness.attempt(checkout)
    return harness.order(checkout).status, attempt.disputed_minor, attempt.charged_back_minor


def dispute_events(harness: PaymentsHarness, checkout) -> list[dict]:
    """Return the dispute events of an order, without their constant fields."""
    harness.session.flush()
    of_order = (OutboxEvent.aggregateid == str(checkout["order_id"])) & OutboxEvent.type.contains("DISPUTE")
    events = harness.session.scalars(select(OutboxEvent).where(of_order).order_by(OutboxEvent.aggregate_version))
    names = ("won", "order_suspended", "order_restored", "order_charged_back")
    return [{name: event.payload[name] for name in names if name in event.payload} for event in events]


SUSPENDED = {"order_suspended": True}
WON = {"won": True, "order_restored": True, "order_charged_back": False}
LOST = {"won": False, "order_restored": False, "order_charged_back": True}


def test_open_dispute_suspends_order_once(harness, session, checkout):
    dispute = post_dispute(harness, checkout)
    receive_dispute_webhooks(harness, dispute, "created", "funds_withdrawn", "created")
    assert order_state(harness, checkout) == ("disputed", 4900, 0)
    assert entries_by_account(session, checkout, kind="dispute") == DISPUTE_ENTRIES
    assert dispute_events(harness, checkout) == [SUSPENDED]
    assert list(imbalances(session)) == []
    assert timeline_steps(harness, checkout)[-1] == "dispute_open"
    with pytest.raises(RefundTooLarge):  # a disputed amount must not be refunded as well
        harness.refund(checkout)
    with pytest.raises(AlreadyPurchased):  # a second purchase is refused while the dispute may be won
        harness.checkout(harness.order(checkout).course_id)


def test_won_dispute_restores_order(harness, session, checkout):
    dispute = post_dispute(harness, checkout)
    receive_dispute_webhooks(harness, dispute, "created")
    post_dispute(harness, checkout, outcome="won")
    receive_dispute_webhooks(harness, dispute, "funds_reinstated", "closed")
    assert order_state(harness, checkout) == ("paid", 0, 0)
    assert entries_by_account(session, checkout, kind="dispute_won") == DISPUTE_WON_ENTRIES
    assert dispute_events(harness, checkout) == [SUSPENDED, WON]
    assert list(imbalances(session)) == []
    assert harness.refund(checkout)["status"] == "succeeded"


def test_lost_dispute_charges_back_order(harness, session, checkout):
    dispute = post_dispute(harness, checkout)
    receive_dispute_webhooks(harness, dispute, "created")
    post_dispute(harness, checkout, outcome="lost")
    receive_dispute_webhooks(harness, dispute, "closed", "closed")
    assert order_state(harness, checkout) == ("charged_back", 0, 4900)
    assert entries_by_account(session, checkout, kind="dispute") == DISPUTE_ENTRIES
    assert dispute_events(harness, checkout) == [SUSPENDED, LOST]
    assert list(imbalances(session)) == []
    with pytest.raises(RefundTooLarge):
        harness.refund(checkout)


@pytest.mark.parametrize("kinds", list(permutations(["created", "funds_withdrawn", "closed"])))
def test_late_dispute_events_converge_in_any_order(harness, session, checkout, kinds):
    dispute = post_dispute(harness, checkout)
    post_dispute(harness, checkout, outcome="lost")
    receive_dispute_webhooks(harness, dispute, *kinds)
    assert order_state(harness, checkout) == ("charged_back", 0, 4900)
    assert entries_by_account(session, checkout, kind="dispute") == DISPUTE_ENTRIES
    assert dispute_events(harness, checkout) == [LOST]


def snapshot_of(dispute: Dispute, status: str) -> DisputeSnapshot:
    return DisputeSnapshot(
        object_id=dispute.object_id,
        status=status,
        amount_minor=dispute.amount_minor,
        currency=dispute.currency,
        reason=dispute.reason,
        respond_by=None,
    )


def apply_dispute_snapshot(harness: PaymentsHarness, checkout, snapshot: DisputeSnapshot) -> None:
    order = harness.order(checkout)
    apply_dispute(harness.session, order, order.attempt(checkout["id"]), snapshot)
    harness.session.flush()


def test_stale_dispute_snapshot_is_ignored(harness, session, checkout):
    receive_dispute_webhooks(harness, post_dispute(harness, checkout), "created")
    dispute = dispute_of(harness, checkout)
    for status in ("won", "open", "lost", "inquiry"):
        apply_dispute_snapshot(harness, checkout, snapshot_of(dispute, status))
    assert (order_state(harness, checkout), dispute.status) == (("paid", 0, 0), "won")
    assert dispute_events(harness, checkout) == [SUSPENDED, WON]


def test_lost_dispute_can_still_be_won(harness, session, checkout):
    receive_dispute_webhooks(harness, post_dispute(harness, checkout), "created")
    dispute = dispute_of(harness, checkout)
    for status in ("lost", "won"):
        apply_dispute_snapshot(harness, checkout, snapshot_of(dispute, status))
    assert order_state(harness, checkout) == ("paid", 0, 0)
    assert dispute_events(harness, checkout) == [SUSPENDED, LOST, WON]
    assert list(imbalances(session)) == []


def test_inquiry_has_no_effect_until_escalated(harness, session, checkout):
    dispute = post_dispute(harness, checkout, inquiry="true")
    receive_dispute_webhooks(harness, dispute, "created")
    assert (order_state(harness, checkout), dispute_of(harness, checkout).status) == (("paid", 0, 0), "inquiry")
    assert (entries_by_account(session, checkout, kind="dispute"), dispute_events(harness, checkout)) == ({}, [])
    post_dispute(harness, checkout, outcome="escalated")
    receive_dispute_webhooks(harness, dispute, "updated")
    assert order_state(harness, checkout) == ("disputed", 4900, 0)


def test_closed_inquiry_has_no_effect(harness, session, checkout):
    dispute = post_dispute(harness, checkout, inquiry="true")
    post_dispute(harness, checkout, outcome="won")
    receive_dispute_webhooks(harness, dispute, "closed")
    assert (order_state(harness, checkout), dispute_events(harness, checkout)) == (("paid", 0, 0), [])


def test_lost_partial_dispute_partially_refunds_order(harness, session, checkout):
    dispute = post_dispute(harness, checkout, amount=1900)
    receive_dispute_webhooks(harness, dispute, "created")
    assert order_state(harness, checkout) == ("disputed", 1900, 0)
    post_dispute(harness, checkout, outcome="lost")
    receive_dispute_webhooks(harness, dispute, "closed")
    assert order_state(harness, checkout) == ("partially_refunded", 0, 1900)
    assert dispute_events(harness, checkout)[-1] == {"won": False, "order_restored": True, "order_charged_back": False}
    with pytest.raises(RefundTooLarge):
        harness.refund(checkout, 3001)


def test_lost_dispute_after_partial_refund_charges_back_order(harness, session, checkout):
    harness.refund(checkout, 3000)
    dispute = post_dispute(harness, checkout, amount=1900)
    post_dispute(harness, checkout, outcome="lost")
    receive_dispute_webhooks(harness, dispute, "closed")
    assert order_state(harness, checkout) == ("charged_back", 0, 1900)
    assert dispute_events(harness, checkout) == [LOST]


def test_dispute_may_exceed_unrefunded_amount(harness, session, checkout):
    harness.refund(checkout, 1900)
    receive_dispute_webhooks(harness, post_dispute(harness, checkout, amount=4900), "created")
    assert (order_state(harness, checkout), harness.attempt(checkout).refundable_minor) == (("disputed", 4900, 0), 0)
    assert list(imbalances(session)) == []


def test_dispute_of_refunded_order_suspends_nothing(harness, checkout):
    harness.refund(checkout)
    dispute = post_dispute(harness, checkout)
    receive_dispute_webhooks(harness, dispute, "created")
    post_dispute(harness, checkout, outcome="won")
    receive_dispute_webhooks(harness, dispute, "closed")
    assert harness.order(checkout).status == "refunded"
    assert [each.get("order_suspended", each.get("order_restored")) for each in dispute_events(harness, checkout)] == [
        False,
        False,
    ]


def test_dispute_in_other_currency_goes_to_review(harness, session, checkout):
    snapshot = DisputeSnapshot(
        object_id="du_1", status="open", amount_minor=4900, currency="EUR", reason="fraudulent", respond_by=None
    )
    for _ in range(2):
        apply_dispute_snapshot(harness, checkout, snapshot)
    dispute = dispute_of(harness, checkout)
    assert (dispute.status, dispute.problem) == ("review", "does not match: currency")
    assert (order_state(harness, checkout), dispute_events(harness, checkout)) == (("paid", 0, 0), [])


@pytest.mark.parametrize("status", ["open", "lost"])
def test_changed_dispute_amount_updates_counters_and_ledger(harness, session, checkout, status):
    receive_dispute_webhooks(harness, post_dispute(harness, checkout), "created")
    dispute = dispute_of(harness, checkout)

    for amount_minor in (1900, 1900, 2900):
        apply_dispute_snapshot(harness, checkout, replace(snapshot_of(dispute, status), amount_minor=amount_minor))

    at_bank = (2900, 0) if status == "open" else (0, 2900)
    assert order_state(harness, checkout)[1:] == at_bank
    assert (dispute.amount_minor, dispute.problem) == (2900, None)
    assert dispute_entries_sum(session, checkout) == {"provider.stripe.main": -2900, "disputes": 2900}
    assert list(imbalances(session)) == []
    apply_dispute_snapshot(harness, checkout, snapshot_of(dispute, "won"))
    assert (order_state(harness, checkout), dispute_entries_sum(session, checkout)) == (("paid", 0, 0), {})
    assert list(imbalances(session)) == []


def dispute_entries_sum(session, checkout) -> dict[str, int]:
    """Return the sum of the order's dispute entries by account, without accounts whose sum is zero."""
    sums = Counter()
    for kind in ("dispute", "dispute_changed", "dispute_won"):
        page = list_ledger_entries(session, order_id=checkout["order_id"], account=None, limit=50, after=None)
        for entry in page["items"]:
            sums[entry["account"]] += entry["amount_minor"] if entry["kind"] == kind else 0
    return {account: amount for account, amount in sums.items() if amount}


def test_changed_amount_of_lost_dispute_changes_access(harness, checkout):
    receive_dispute_webhooks(harness, post_dispute(harness, checkout), "created")
    dispute = dispute_of(harness, checkout)
    apply_dispute_snapshot(harness, checkout, snapshot_of(dispute, "lost"))

    apply_dispute_snapshot(harness, checkout, replace(snapshot_of(dispute, "lost"), amount_minor=1900))
    apply_dispute_snapshot(harness, checkout, replace(snapshot_of(dispute, "lost"), amount_minor=2900))

    assert order_state(harness, checkout) == ("partially_refunded", 0, 2900)
    assert dispute_events(harness, checkout) == [SUSPENDED, LOST, {**WON, "won": False}]


def test_won_dispute_with_changed_amount_restores_full_amount(harness, session, checkout):
    receive_dispute_webhooks(harness, post_dispute(harness, checkout), "created")
    dispute = dispute_of(harness, checkout)

    apply_dispute_snapshot(harness, checkout, replace(snapshot_of(dispute, "won"), amount_minor=1900))

    assert (order_state(harness, checkout), dispute_entries_sum(session, checkout)) == (("paid", 0, 0), {})
    assert list(imbalances(session)) == []


def test_changed_deadline_and_amount_of_an_inquiry_are_stored(harness, session, checkout):
    receive_dispute_webhooks(harness, post_dispute(harness, checkout, inquiry="true"), "created")
    dispute = dispute_of(harness, checkout)
    later = dispute.respond_by + timedelta(days=5)

    apply_dispute_snapshot(
        harness, checkout, replace(snapshot_of(dispute, "inquiry"), amount_minor=1900, respond_by=later)
    )

    assert (dispute.respond_by, dispute.amount_minor) == (later, 1900)
    assert (dispute_entries_sum(session, checkout), dispute_events(harness, checkout)) == ({}, [])


def test_changed_deadline_of_an_open_dispute_is_stored(harness, checkout):
    receive_dispute_webhooks(harness, post_dispute(harness, checkout), "created")
    dispute = dispute_of(harness, checkout)
    later = dispute.respond_by + timedelta(days=5)

    apply_dispute_snapshot(harness, checkout, replace(snapshot_of(dispute, "open"), respond_by=later))

    assert (dispute.respond_by, order_state(harness, checkout)) == (later, ("disputed", 4900, 0))
    assert dispute_events(harness, checkout) == [SUSPENDED]


def test_amount_in_other_currency_does_not_replace_stored_amount(harness, session, checkout):
    receive_dispute_webhooks(harness, post_dispute(harness, checkout), "created")
    dispute = dispute_of(harness, checkout)

    apply_dispute_snapshot(harness, checkout, replace(snapshot_of(dispute, "lost"), amount_minor=5900, currency="EUR"))

    assert (order_state(harness, checkout), dispute.problem) == (("charged_back", 0, 4900), "does not match: currency")
    assert list(imbalances(session)) == []


def test_changed_dispute_amount_matches_provider_list(harness, session, checkout):
    dispute_id = post_dispute(harness, checkout)
    receive_dispute_webhooks(harness, dispute_id, "created")
    apply_dispute_snapshot(
        harness, checkout, replace(snapshot_of(dispute_of(harness, checkout), "open"), amount_minor=1900)
    )
    payment_id = harness.attempt(checkout).payment_id
    transaction = ProviderTransaction(
        kind="dispute",
        object_id=dispute_id,
        payment_id=payment_id,
        attempt_id=None,
        amount_minor=1900,
        currency="USD",
    )

    differing = Reconciliation.compare(
        session, [transaction], provider="stripe", account="main", since=utc_now() - 2 * DAY, at=utc_now()
    )

    assert differing == []


def test_dispute_of_duplicate_payment_keeps_order_paid(harness, session, checkout):
    order = harness.order(checkout)
    rival = PaymentAttempt.create(
        harness.attempt(checkout).terms, ttl=order.attempts[0].expires_at - order.created_at, at=order.created_at
    )
    order.attempts.append(rival)
    session.flush()
    apply_payment_snapshot(session, rival, paid_snapshot(rival, payment_id="pi_rival"))
    snapshot = DisputeSnapshot(
        object_id="du_2", status="open", amount_minor=4900, currency="USD", reason="duplicate", respond_by=None
    )
    apply_dispute(session, harness.order(checkout), rival, snapshot)
    assert (harness.order(checkout).status, rival.disputed_minor) == ("paid", 4900)
    assert entries_by_account(session, checkout, kind="dispute") == {
        "provider.stripe.main": -4900,
        "owed_to_buyers": 4900,
    }
    assert list(imbalances(session)) == []


def test_disputes_are_filtered_by_order_and_status(harness, session, checkout):
    dispute = post_dispute(harness, checkout)
    receive_dispute_webhooks(harness, dispute, "created")
    query = {"limit": 5, "after": None}
    [view] = list_disputes(session, order_id=checkout["order_id"], status="open", **query)["items"]
    assert (view["provider_id"], view["reason"], view["amount_minor"]) == (dispute, "fraudulent", 4900)
    assert view["respond_by"] > view["opened_at"]
    assert list_disputes(session, order_id=checkout["order_id"], status="lost", **query)["items"] == []


def test_concurrent_dispute_updates_apply_once(committed_checkout, stripe, fake_stripe):
    checkout = committed_checkout
    with session_factory("payments")() as session:
        payment_id = session.get_one(PaymentAttempt, checkout["id"]).payment_id
    fake_stripe.post(f"/__dispute/{payment_id}")
    [opened] = stripe.list_disputes(payment_id)
    fake_stripe.post(f"/__dispute/{payment_id}", outcome="won")
    [won] = stripe.list_disputes(payment_id)

    def apply_in_transaction(snapshot: DisputeSnapshot) -> None:
        with session_factory("payments").begin() as session:
            order = Orders(session).get_for_update(checkout["order_id"])
            apply_dispute(session, order, order.attempt(checkout["id"]), snapshot)

    apply_in_transaction(opened)
    run_concurrently(*[partial(apply_in_transaction, opened), partial(apply_in_transaction, won)] * (CONCURRENCY // 2))
    with session_factory("payments")() as session:
        attempt = session.get_one(PaymentAttempt, checkout["id"])
        assert (attempt.disputed_minor, attempt.charged_back_minor) == (0, 0)
        assert event_types(session, checkout["order_id"])[-2:] == ["DISPUTE_OPENED", "DISPUTE_CLOSED"]
        of_order = LedgerTransaction.order_id == checkout["order_id"]
        kinds = sorted(session.scalars(select(LedgerTransaction.kind).where(of_order)))
        assert kinds == ["capture", "dispute", "dispute_won"]
        assert list(imbalances(session)) == []
