"""Reviews: staff decide how to record a payment, refund or dispute, and the decision is recorded and kept."""

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from core.db import session_factory, utc_now
from models.errors import NotFound, NotInReview, PaymentInReview, ResolutionNotAllowed
from models.payments import Dispute, PaymentAttempt, Refund, Resolution
from models.payments.ledger import imbalances
from tests.integration.payments.harness import PaymentsHarness, make_offer, paid_snapshot
from tests.integration.payments.test_ledger import entries_by_account
from tests.integration.payments.test_provider_reports import dispute_snapshot, refund_snapshot, report
from workers.payments.payment_flow import apply_payment_snapshot
from workers.payments.refunds import sync_refund
from workers.payments.reviews import (
    list_all_refunds,
    list_payments,
    resolve_dispute,
    resolve_payment,
    resolve_refund,
    show_payment,
)

ACTOR = uuid4()


@pytest.fixture
def checkout(harness, session):
    return harness.checkout(make_offer(session))


@pytest.fixture
def in_review(harness, checkout):
    """A checkout that was paid with 4900 where 5000 are expected."""
    return pay_with_mismatch(harness, checkout, amount_minor=5000)


def pay_with_mismatch(harness: PaymentsHarness, checkout, **expected):
    attempt = harness.attempt(checkout)
    for name, value in expected.items():
        setattr(attempt, name, value)
    harness.session.flush()
    harness.pay(checkout)
    harness.sync(checkout)
    assert attempt.status == "review"
    return checkout


def resolve(harness: PaymentsHarness, checkout, action: str) -> dict:
    decision = {"action": action, "note": "confirmed by the buyer", "actor": ACTOR}
    resolved = resolve_payment(harness.transactions, harness.providers, payment_id=checkout["id"], **decision)
    harness.session.flush()
    return resolved


def balance(session, checkout) -> dict[str, int]:
    """Return the sums of the entries of an order by account."""
    session.flush()
    sums = text("""
        SELECT account, sum(amount_minor)::int FROM payments.ledger_entries JOIN payments.ledger_transactions t
        ON t.id = transaction_id WHERE order_id = :order_id GROUP BY account HAVING sum(amount_minor) <> 0""")
    return dict(session.execute(sums, {"order_id": checkout["order_id"]}).all())


# Payments.


def test_captured_payment_in_review_is_booked_to_suspense(harness, session, in_review):
    assert entries_by_account(session, in_review) == {"provider.stripe.main": 4900, "suspense": -4900}
    assert list(imbalances(session)) == []
    assert in_review["id"] in [
        each["id"] for each in list_payments(session, order_id=None, status="review", limit=100, after=None)["items"]
    ]


def test_accepted_payment_pays_order_at_captured_amount(harness, session, in_review):
    resolved = resolve(harness, in_review, "accept")

    order = harness.order(in_review)
    assert (order.status, order.amount_minor) == ("paid", 4900)
    assert (resolved["status"], resolved["captured_minor"]) == ("succeeded", 4900)
    assert harness.event_types(in_review) == ["ORDER_CREATED", "PAYMENT_SUCCEEDED", "COURSE_PURCHASED"]
    assert balance(session, in_review) == {"provider.stripe.main": 4900, "sales": -4900}
    assert list(imbalances(session)) == []
    assert harness.refund(in_review)["amount_minor"] == 4900


def test_accepted_payment_pays_order_in_captured_currency(harness, session, checkout):
    pay_with_mismatch(harness, checkout, currency="EUR")
    assert list(imbalances(session)) == []

    resolve(harness, checkout, "accept")

    assert (harness.order(checkout).amount_minor, harness.order(checkout).currency) == (4900, "USD")
    assert harness.refund(checkout)["currency"] == "USD"
    assert list(imbalances(session)) == []


def test_accepted_payment_of_paid_order_is_refunded_as_duplicate(harness, session, in_review):
    order = harness.order(in_review)
    rival = PaymentAttempt.create(order.attempt(in_review["id"]).terms, ttl=timedelta(hours=1), at=utc_now())
    order.attempts.append(rival)
    session.flush()
    apply_payment_snapshot(session, rival, paid_snapshot(rival, checkout_session_id="cs_rival", payment_id="pi_rival"))

    assert resolve(harness, in_review, "accept")["status"] == "duplicate"

    [refund] = Refund.list_for_order(session, order.id)
    sync_refund(harness.transactions, harness.providers, refund_id=refund.id)
    assert harness.refunded_at_provider(in_review) == [4900]
    assert balance(session, in_review) == {"provider.stripe.main": 5000, "sales": -5000}


def test_refund_resolution_refunds_payment_and_expires_order(harness, session, in_review):
    resolve(harness, in_review, "refund")
    [refund] = Refund.list_for_order(session, in_review["order_id"])
    assert refund.owed_since

    sync_refund(harness.transactions, harness.providers, refund_id=refund.id)

    assert harness.refunded_at_provider(in_review) == [4900]
    assert balance(session, in_review) == {}
    assert list(imbalances(session)) == []
    assert harness.order(in_review).status == "expired"


def test_resolution_must_match_captured_amount(harness, session, in_review):
    with pytest.raises(ResolutionNotAllowed, match="accept or refund"):
        resolve(harness, in_review, "release")
    open_checkout_session = harness.checkout(make_offer(session))
    harness.apply(open_checkout_session, amount_minor=1)
    for action in ("accept", "refund"):
        with pytest.raises(ResolutionNotAllowed, match="release"):
            resolve(harness, open_checkout_session, action)


def test_released_session_is_expired_at_provider(harness, checkout):
    harness.apply(checkout, amount_minor=1)
    assert harness.attempt(checkout).status == "review"

    assert resolve(harness, checkout, "release")["status"] == "failed"

    assert harness.fake_stripe.pay(harness.attempt(checkout).checkout_session_id, "succeed").status_code == 409
    assert harness.order(checkout).live_attempt is None


@pytest.mark.parametrize(("action", "taken", "status"), [("accept", ["succeeded"], "paid"), ("release", [], "pending")])
def test_authorization_in_review_is_captured_or_voided(harness_with_yookassa, session, action, taken, status):
    harness = harness_with_yookassa
    checkout = harness.checkout(make_offer(session, price_minor=199000, currency="RUB"), provider="yookassa")
    pay_with_mismatch(harness, checkout, amount_minor=200000)

    resolve(harness, checkout, action)

    assert [each["status"] for each in harness.fake_yookassa.payments_of(str(checkout["order_id"]))] == taken
    assert harness.order(checkout).status == status
    assert list(imbalances(session)) == []


def test_refund_and_dispute_of_payment_in_review_are_booked(harness, session, in_review):
    report(harness, in_review, refund_snapshot("re_1", 900))
    report(harness, in_review, dispute_snapshot("dp_1", 1000, "open"))
    assert balance(session, in_review) == {"provider.stripe.main": 3000, "suspense": -3000}
    assert list(imbalances(session)) == []

    resolve(harness, in_review, "accept")
    report(harness, in_review, dispute_snapshot("dp_1", 1000, "won"))

    assert balance(session, in_review) == {"provider.stripe.main": 4000, "sales": -4900, "refunds": 900}
    assert harness.order(in_review).status == "partially_refunded"
    assert list(imbalances(session)) == []


def test_dispute_of_payment_in_review_finishes_its_webhook(harness, in_review):
    dispute = str(harness.fake_stripe.post(f"/__dispute/{harness.attempt(in_review).payment_id}")["id"])

    harness.receive_and_apply(dispute, "charge.dispute.created")

    assert {event.status for event in harness.provider_events()} == {"applied"}
    assert harness.attempt(in_review).disputed_minor == 4900


def test_mismatched_payment_goes_to_review_beside_live_attempt(harness, session, checkout):
    harness.apply(checkout, status="expired", checkout_session_open=False)
    order = harness.order(checkout)
    order.status = "pending"
    order.attempts.append(PaymentAttempt.create(order.attempts[0].terms, ttl=timedelta(hours=1), at=utc_now()))
    session.flush()

    harness.apply(
        checkout,
        status="succeeded",
        checkout_session_open=False,
        amount_minor=1,
        captured_minor=1,
        payment_id="pi_late",
    )
    session.flush()

    assert harness.attempt(checkout).status == "review"


def test_resolution_stores_actor_time_and_note(harness, session, in_review):
    resolve(harness, in_review, "accept")

    [decision] = show_payment(session, payment_id=in_review["id"])["resolutions"]
    assert (decision["action"], decision["actor"], decision["note"]) == ("accept", ACTOR, "confirmed by the buyer")
    assert utc_now() - decision["resolved_at"] < timedelta(minutes=1)


def test_payment_not_in_review_cannot_be_resolved(harness, session, in_review):
    resolve(harness, in_review, "accept")

    with pytest.raises(NotInReview):
        resolve(harness, in_review, "refund")
    with pytest.raises(NotFound):
        resolve(harness, {"id": uuid4()}, "accept")


def test_payment_in_review_cannot_be_refunded_directly(harness, in_review):
    with pytest.raises(PaymentInReview):
        harness.refund(in_review, payment_id=in_review["id"])


@pytest.mark.parametrize(
    "change", ["UPDATE payments.resolutions SET action = 'refund'", "DELETE FROM payments.resolutions"]
)
def test_service_role_cannot_change_resolutions(database, change):
    with session_factory("payments")() as session, pytest.raises(DBAPIError, match="permission denied"):
        session.execute(text(change))


# Refunds and disputes.


@pytest.fixture
def refund(harness, session) -> Refund:
    """A refund of 4900 at the provider where 4000 are recorded."""
    checkout = harness.buy(make_offer(session))
    harness.fake_stripe.faults(pending_refunds=1)
    harness.refund(checkout)
    [refund] = Refund.list_for_order(session, checkout["order_id"])
    refund.amount_minor = 4000
    harness.attempt(checkout).refund_pending_minor = 4000
    session.flush()
    sync_refund(harness.transactions, harness.providers, refund_id=refund.id)
    assert refund.status == "review"
    assert refund.id in [
        each["id"] for each in list_all_refunds(session, status="review", limit=100, after=None)["items"]
    ]
    return refund


def decide(harness: PaymentsHarness, refund: Refund, action: str) -> dict:
    decision = {"action": action, "note": "confirmed in the dashboard", "actor": ACTOR}
    return resolve_refund(harness.transactions, harness.providers, refund_id=refund.id, **decision)


def test_accepted_refund_is_booked_with_provider_amount(harness, session, refund):
    harness.fake_stripe.post(f"/__refund/{refund.object_id}", outcome="succeed")

    resolved = decide(harness, refund, "accept")

    order = harness.order({"order_id": refund.order_id})
    assert (resolved["status"], resolved["amount_minor"], order.status) == ("succeeded", 4900, "refunded")
    assert (order.successful_attempt.refund_pending_minor, order.successful_attempt.refunded_minor) == (0, 4900)
    assert list(imbalances(session)) == []
    assert [each.action for each in Resolution.list_for_subject(session, refund.id)] == ["accept"]
    with pytest.raises(NotInReview):
        decide(harness, refund, "accept")


def test_refund_made_at_provider_cannot_be_released(harness, refund):
    with pytest.raises(ResolutionNotAllowed):
        decide(harness, refund, "release")


def test_released_refund_frees_amount(harness, session, refund):
    harness.fake_stripe.post(f"/__refund/{refund.object_id}", outcome="fail")

    assert decide(harness, refund, "release")["status"] == "failed"

    payment = harness.order({"order_id": refund.order_id}).successful_attempt
    assert (payment.refund_pending_minor, payment.refundable_minor) == (0, 4900)


@pytest.fixture
def dispute(harness, session) -> Dispute:
    """A dispute that the provider first reported in another currency."""
    checkout = harness.buy(make_offer(session))
    object_id = str(harness.fake_stripe.post(f"/__dispute/{harness.attempt(checkout).payment_id}")["id"])
    report(harness, checkout, replace(dispute_snapshot(object_id, 4500, "open"), currency="EUR"))
    [dispute] = session.scalars(select(Dispute).where(Dispute.order_id == checkout["order_id"]))
    assert dispute.status == "review"
    return dispute


def decide_dispute(harness: PaymentsHarness, dispute: Dispute, action: str, amount_minor: int | None = None) -> dict:
    decision = {"action": action, "amount_minor": amount_minor, "note": "confirmed by the bank", "actor": ACTOR}
    return resolve_dispute(harness.transactions, harness.providers, dispute_id=dispute.id, **decision)


def test_accepted_dispute_is_booked_in_payment_currency(harness, session, dispute):
    resolved = decide_dispute(harness, dispute, "accept", 4900)

    order = harness.order({"order_id": dispute.order_id})
    assert (resolved["status"], resolved["currency"]) == ("open", "USD")
    assert (order.status, order.successful_attempt.disputed_minor) == ("disputed", 4900)
    assert harness.event_types({"order_id": order.id})[-1] == "DISPUTE_OPENED"
    assert list(imbalances(session)) == []


def test_released_dispute_has_no_effect(harness, session, dispute):
    assert decide_dispute(harness, dispute, "release")["status"] == "won"

    assert harness.order({"order_id": dispute.order_id}).status == "paid"
    assert [each.note for each in Resolution.list_for_order(session, dispute.order_id)] == ["confirmed by the bank"]
    with pytest.raises(NotInReview):
        decide_dispute(harness, dispute, "release")
