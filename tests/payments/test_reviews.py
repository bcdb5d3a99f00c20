"""The way out of review: staff decide what a payment, refund or dispute is, and the decision is booked and kept."""

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from models.base import now, sessions
from models.errors import NotFound, NotInReview, PaymentInReview, ResolutionRefused
from models.payments import Attempt, Dispute, Refund, Resolution
from models.payments.ledger import imbalances
from tests.payments.shop import Shop, make_offer, paid
from tests.payments.test_ledger import booked
from tests.payments.test_provider_facts import dispute_snapshot, refund_snapshot, report
from workers.payments.refunds import sync_refund
from workers.payments.reviews import (
    list_all_refunds,
    list_payments,
    resolve_dispute,
    resolve_payment,
    resolve_refund,
    show_payment,
)
from workers.payments.sync import apply_snapshot

ACTOR = uuid4()


@pytest.fixture
def checkout(shop, session):
    return shop.checkout(make_offer(session))


@pytest.fixture
def in_review(shop, checkout):
    """A checkout whose page took 4900 where 5000 are expected."""
    return pay_wrongly(shop, checkout, amount_minor=5000)


def pay_wrongly(shop: Shop, checkout, **expected):
    attempt = shop.attempt(checkout)
    for name, value in expected.items():
        setattr(attempt, name, value)
    shop.session.flush()
    shop.pay(checkout)
    shop.sync(checkout)
    assert attempt.status == "review"
    return checkout


def resolve(shop: Shop, checkout, action: str) -> dict:
    decision = {"action": action, "note": "as the buyer wrote", "actor": ACTOR}
    resolved = resolve_payment(shop.sessions, shop.providers, payment_id=checkout["id"], **decision)
    shop.session.flush()
    return resolved


def balance(session, checkout) -> dict[str, int]:
    """What the entries of an order add up to, by account."""
    session.flush()
    sums = text("""
        SELECT account, sum(amount_minor)::int FROM payments.ledger_entries JOIN payments.ledger_transactions t
        ON t.id = transaction_id WHERE order_id = :order_id GROUP BY account HAVING sum(amount_minor) <> 0""")
    return dict(session.execute(sums, {"order_id": checkout["order_id"]}).all())


# Payments.


def test_captured_money_in_review_stands_in_suspense(shop, session, in_review):
    assert booked(session, in_review) == {"provider.stripe.main": 4900, "suspense": -4900}
    assert list(imbalances(session)) == []
    assert in_review["id"] in [
        each["id"] for each in list_payments(session, order_id=None, status="review", limit=100, after=None)["items"]
    ]


def test_accepted_payment_pays_its_order_at_the_amount_taken(shop, session, in_review):
    resolved = resolve(shop, in_review, "accept")

    order = shop.order(in_review)
    assert (order.status, order.amount_minor) == ("paid", 4900)
    assert (resolved["status"], resolved["captured_minor"]) == ("succeeded", 4900)
    assert shop.told(in_review) == ["ORDER_CREATED", "PAYMENT_SUCCEEDED", "COURSE_PURCHASED"]
    assert balance(session, in_review) == {"provider.stripe.main": 4900, "sales": -4900}
    assert list(imbalances(session)) == []
    assert shop.refund(in_review)["amount_minor"] == 4900


def test_accepted_payment_in_another_currency_pays_in_that_currency(shop, session, checkout):
    pay_wrongly(shop, checkout, currency="EUR")
    assert list(imbalances(session)) == []

    resolve(shop, checkout, "accept")

    assert (shop.order(checkout).amount_minor, shop.order(checkout).currency) == (4900, "USD")
    assert shop.refund(checkout)["currency"] == "USD"
    assert list(imbalances(session)) == []


def test_accepted_payment_of_a_paid_order_is_a_duplicate_that_goes_back(shop, session, in_review):
    order = shop.order(in_review)
    rival = Attempt.begin(order.attempt(in_review["id"]).terms, open_for=timedelta(hours=1), at=now())
    order.attempts.append(rival)
    session.flush()
    apply_snapshot(session, rival, paid(rival, page_id="cs_rival", payment_id="pi_rival"))

    assert resolve(shop, in_review, "accept")["status"] == "duplicate"

    [refund] = Refund.of_order(session, order.id)
    sync_refund(shop.sessions, shop.providers, refund_id=refund.id)
    assert shop.given_back(in_review) == [4900]
    assert balance(session, in_review) == {"provider.stripe.main": 5000, "sales": -5000}


def test_refunded_payment_goes_back_and_ends_its_order(shop, session, in_review):
    resolve(shop, in_review, "refund")
    [refund] = Refund.of_order(session, in_review["order_id"])
    assert refund.owed_since

    sync_refund(shop.sessions, shop.providers, refund_id=refund.id)

    assert shop.given_back(in_review) == [4900]
    assert balance(session, in_review) == {}
    assert list(imbalances(session)) == []
    assert shop.order(in_review).status == "expired"


def test_captured_money_is_not_released_and_none_is_not_accepted(shop, session, in_review):
    with pytest.raises(ResolutionRefused, match="accept or refund"):
        resolve(shop, in_review, "release")
    open_page = shop.checkout(make_offer(session))
    shop.apply(open_page, amount_minor=1)
    for action in ("accept", "refund"):
        with pytest.raises(ResolutionRefused, match="release"):
            resolve(shop, open_page, action)


def test_released_page_is_closed_at_the_provider(shop, checkout):
    shop.apply(checkout, amount_minor=1)
    assert shop.attempt(checkout).status == "review"

    assert resolve(shop, checkout, "release")["status"] == "failed"

    assert shop.standin.pay(shop.attempt(checkout).page_id, "succeed").status_code == 409
    assert shop.order(checkout).live_attempt is None


@pytest.mark.parametrize(("action", "taken", "status"), [("accept", ["succeeded"], "paid"), ("release", [], "pending")])
def test_hold_in_review_is_captured_or_released(kassa_shop, session, action, taken, status):
    shop = kassa_shop
    checkout = shop.checkout(make_offer(session, price_minor=199000, currency="RUB"), provider="yookassa")
    pay_wrongly(shop, checkout, amount_minor=200000)

    resolve(shop, checkout, action)

    assert [each["status"] for each in shop.kassa.payments_of(str(checkout["order_id"]))] == taken
    assert shop.order(checkout).status == status
    assert list(imbalances(session)) == []


def test_refunds_and_disputes_of_money_in_review_are_booked_and_follow_the_decision(shop, session, in_review):
    report(shop, in_review, refund_snapshot("re_1", 900))
    report(shop, in_review, dispute_snapshot("dp_1", 1000, "open"))
    assert balance(session, in_review) == {"provider.stripe.main": 3000, "suspense": -3000}
    assert list(imbalances(session)) == []

    resolve(shop, in_review, "accept")
    report(shop, in_review, dispute_snapshot("dp_1", 1000, "won"))

    assert balance(session, in_review) == {"provider.stripe.main": 4000, "sales": -4900, "refunds": 900}
    assert shop.order(in_review).status == "partially_refunded"
    assert list(imbalances(session)) == []


def test_dispute_of_money_in_review_finishes_its_webhook(shop, in_review):
    dispute = str(shop.standin.post(f"/__dispute/{shop.attempt(in_review).payment_id}")["id"])

    shop.hear(dispute, "charge.dispute.created")

    assert {event.status for event in shop.provider_events()} == {"applied"}
    assert shop.attempt(in_review).disputed_minor == 4900


def test_mismatching_money_may_come_while_another_page_is_open(shop, session, checkout):
    shop.apply(checkout, status="expired", page_open=False)
    order = shop.order(checkout)
    order.status = "pending"
    order.attempts.append(Attempt.begin(order.attempts[0].terms, open_for=timedelta(hours=1), at=now()))
    session.flush()

    shop.apply(checkout, status="succeeded", page_open=False, amount_minor=1, captured_minor=1, payment_id="pi_late")
    session.flush()

    assert shop.attempt(checkout).status == "review"


def test_decision_is_kept_with_who_when_and_why(shop, session, in_review):
    resolve(shop, in_review, "accept")

    [decision] = show_payment(session, payment_id=in_review["id"])["resolutions"]
    assert (decision["action"], decision["actor"], decision["note"]) == ("accept", ACTOR, "as the buyer wrote")
    assert now() - decision["resolved_at"] < timedelta(minutes=1)


def test_only_what_is_in_review_is_resolved(shop, session, in_review):
    resolve(shop, in_review, "accept")

    with pytest.raises(NotInReview):
        resolve(shop, in_review, "refund")
    with pytest.raises(NotFound):
        resolve(shop, {"id": uuid4()}, "accept")


def test_payment_in_review_is_not_refunded_past_its_decision(shop, in_review):
    with pytest.raises(PaymentInReview):
        shop.refund(in_review, payment_id=in_review["id"])


@pytest.mark.parametrize(
    "change", ["UPDATE payments.resolutions SET action = 'refund'", "DELETE FROM payments.resolutions"]
)
def test_service_may_not_change_a_decision(database, change):
    with sessions("payments")() as session, pytest.raises(DBAPIError, match="permission denied"):
        session.execute(text(change))


# Refunds and disputes.


@pytest.fixture
def refund(shop, session) -> Refund:
    """A refund of 4900 at the provider, of which we have promised 4000."""
    checkout = shop.bought(make_offer(session))
    shop.standin.faults(pending_refunds=1)
    shop.refund(checkout)
    [refund] = Refund.of_order(session, checkout["order_id"])
    refund.amount_minor = 4000
    shop.attempt(checkout).refund_pending_minor = 4000
    session.flush()
    sync_refund(shop.sessions, shop.providers, refund_id=refund.id)
    assert refund.status == "review"
    assert refund.id in [
        each["id"] for each in list_all_refunds(session, status="review", limit=100, after=None)["items"]
    ]
    return refund


def decide(shop: Shop, refund: Refund, action: str) -> dict:
    decision = {"action": action, "note": "as the dashboard says", "actor": ACTOR}
    return resolve_refund(shop.sessions, shop.providers, refund_id=refund.id, **decision)


def test_accepted_refund_is_booked_with_the_providers_amount(shop, session, refund):
    shop.standin.post(f"/__refund/{refund.object_id}", outcome="succeed")

    resolved = decide(shop, refund, "accept")

    order = shop.order({"order_id": refund.order_id})
    assert (resolved["status"], resolved["amount_minor"], order.status) == ("succeeded", 4900, "refunded")
    assert (order.paid_by.refund_pending_minor, order.paid_by.refunded_minor) == (0, 4900)
    assert list(imbalances(session)) == []
    assert [each.action for each in Resolution.of(session, refund.id)] == ["accept"]
    with pytest.raises(NotInReview):
        decide(shop, refund, "accept")


def test_refund_that_the_provider_made_is_not_released(shop, refund):
    with pytest.raises(ResolutionRefused):
        decide(shop, refund, "release")


def test_released_refund_frees_its_money(shop, session, refund):
    shop.standin.post(f"/__refund/{refund.object_id}", outcome="fail")

    assert decide(shop, refund, "release")["status"] == "failed"

    payment = shop.order({"order_id": refund.order_id}).paid_by
    assert (payment.refund_pending_minor, payment.refundable_minor) == (0, 4900)


@pytest.fixture
def dispute(shop, session) -> Dispute:
    """A dispute at the provider, first reported in another currency."""
    checkout = shop.bought(make_offer(session))
    object_id = str(shop.standin.post(f"/__dispute/{shop.attempt(checkout).payment_id}")["id"])
    report(shop, checkout, replace(dispute_snapshot(object_id, 4500, "open"), currency="EUR"))
    [dispute] = session.scalars(select(Dispute).where(Dispute.order_id == checkout["order_id"]))
    assert dispute.status == "review"
    return dispute


def decide_dispute(shop: Shop, dispute: Dispute, action: str, amount_minor: int | None = None) -> dict:
    decision = {"action": action, "amount_minor": amount_minor, "note": "as the bank wrote", "actor": ACTOR}
    return resolve_dispute(shop.sessions, shop.providers, dispute_id=dispute.id, **decision)


def test_accepted_dispute_is_booked_in_the_payments_currency(shop, session, dispute):
    resolved = decide_dispute(shop, dispute, "accept", 4900)

    order = shop.order({"order_id": dispute.order_id})
    assert (resolved["status"], resolved["currency"]) == ("open", "USD")
    assert (order.status, order.paid_by.disputed_minor) == ("disputed", 4900)
    assert shop.told({"order_id": order.id})[-1] == "PAYMENT_DISPUTED"
    assert list(imbalances(session)) == []


def test_released_dispute_takes_nothing(shop, session, dispute):
    assert decide_dispute(shop, dispute, "release")["status"] == "won"

    assert shop.order({"order_id": dispute.order_id}).status == "paid"
    assert [each.note for each in Resolution.of_order(session, dispute.order_id)] == ["as the bank wrote"]
    with pytest.raises(NotInReview):
        decide_dispute(shop, dispute, "release")
