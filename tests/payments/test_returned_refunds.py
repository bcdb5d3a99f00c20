"""Refunds that the buyer's bank sends back: what they had taken is restored, once, in whatever order it is heard."""

from functools import partial
from uuid import uuid4

import pytest
from sqlalchemy import select

from models.base import sessions
from models.outbox import OutboxEvent
from models.payments import Attempt, Order, Refund
from models.payments.ledger import LedgerTransaction, imbalances
from models.payments.refunds import SHOWN_REASON
from tests.payments.shop import Killed, Shop, make_offer, told
from tests.payments.test_races import Committing
from tests.support.waiting import at_once
from workers.payments.checkouts import start_checkout
from workers.payments.refunds import apply_refund, list_refunds, refund_order
from workers.payments.sync import sync_attempt

RACERS = 24


@pytest.fixture
def checkout(shop, session):
    return shop.bought(make_offer(session))


def only_refund(shop: Shop, checkout) -> Refund:
    [refund] = Refund.of_order(shop.session, checkout["order_id"])
    return refund


def send_back(shop: Shop, refund: Refund) -> None:
    shop.standin.post(f"/__refund/{refund.object_id}", outcome="fail")


def returned(session, order_id) -> list[tuple[int, bool]]:
    """What REFUND_RETURNED told: the amounts, and whether what the order gave is the buyer's again."""
    session.flush()
    mine = (OutboxEvent.aggregateid == str(order_id)) & (OutboxEvent.type == "REFUND_RETURNED")
    events = session.scalars(select(OutboxEvent.payload).where(mine).order_by(OutboxEvent.aggregate_version))
    return [(event["amount_minor"], event["order_restored"]) for event in events]


def test_what_a_returned_refund_took_is_restored_once_however_often_it_is_heard(shop, session, checkout):
    shop.refund(checkout)
    refund = only_refund(shop, checkout)
    send_back(shop, refund)
    for _ in range(2):
        shop.hear(refund.object_id, "refund.failed")
    order = shop.order(checkout)
    assert (order.status, order.paid_by.refunded_minor, order.paid_by.refundable_minor) == ("paid", 0, 4900)
    assert returned(session, order.id) == [(4900, True)]
    assert list(imbalances(session)) == []
    shop.refund(checkout)  # the money may go another way
    assert shop.told(checkout)[-3:] == ["PAYMENT_REFUNDED", "REFUND_RETURNED", "PAYMENT_REFUNDED"]


@pytest.mark.parametrize("kind", ["refund.updated", "refund.created"])
def test_news_that_comes_late_takes_nothing_again(shop, session, checkout, kind):
    shop.refund(checkout)
    refund = only_refund(shop, checkout)
    send_back(shop, refund)
    shop.hear(refund.object_id, "refund.failed")
    shop.hear(refund.object_id, kind)  # of what was fetched, the last word counts
    assert (shop.order(checkout).status, refund.status) == ("paid", "failed")
    assert returned(session, checkout["order_id"]) == [(4900, True)]


def test_a_failure_that_is_the_first_we_hear_took_nothing(shop, session, checkout):
    cut_off = shop.sessions
    cut_off.killed_before = 3  # the provider has given back, and we have not heard
    with pytest.raises(Killed):
        shop.refund(checkout, sessions=cut_off)
    [made] = shop.providers["stripe"].refunds_of(shop.attempt(checkout).payment_id)
    shop.standin.post(f"/__refund/{made.object_id}", outcome="fail")
    shop.hear(made.object_id, "refund.failed")
    assert (shop.order(checkout).status, shop.attempt(checkout).refund_pending_minor) == ("paid", 0)
    assert "PAYMENT_REFUNDED" not in shop.told(checkout)
    assert returned(session, checkout["order_id"]) == []


def test_one_part_that_comes_back_restores_the_order_and_the_next_only_its_money(shop, session, checkout):
    shop.refund(checkout, 1900)
    shop.refund(checkout)
    for refund in Refund.of_order(session, checkout["order_id"]):
        send_back(shop, refund)
        shop.hear(refund.object_id, "refund.failed")
    assert returned(session, checkout["order_id"]) == [(1900, True), (3000, False)]
    assert shop.order(checkout).status == "paid"


def test_24_who_hear_of_it_at_once_restore_once(database, stripe, standin):
    with sessions("payments").begin() as session:
        course_id = make_offer(session)
    wish = {"provider": "stripe", "success_url": "https://shop.test/done", "cancel_url": None, "receipt_email": None}
    shops = {"stripe": stripe}
    checkout = start_checkout(Committing(), shops, user_id=uuid4(), course_id=course_id, plan_id=None, **wish)
    with sessions("payments")() as session:
        standin.pay(session.get_one(Attempt, checkout["id"]).page_id, "succeed")
    sync_attempt(Committing(), shops, attempt_id=checkout["id"])
    asked = {"order_id": checkout["order_id"], "reason": "asked for", "requested_by": uuid4()}
    refund_order(Committing(), shops, amount_minor=None, **asked)
    with sessions("payments")() as session:
        attempt = session.get_one(Attempt, checkout["id"])
    [was] = stripe.refunds_of(attempt.payment_id)
    standin.post(f"/__refund/{was.object_id}", outcome="fail")
    [back] = stripe.refunds_of(attempt.payment_id)

    def hear(snapshot) -> None:
        with sessions("payments").begin() as session:
            order = Order.locked(session, checkout["order_id"])
            apply_refund(session, order, order.attempt(checkout["id"]), snapshot)

    at_once(*[partial(hear, back), partial(hear, was)] * (RACERS // 2))
    with sessions("payments")() as session:
        assert session.get_one(Attempt, checkout["id"]).refunded_minor == 0
        assert told(session, checkout["order_id"]).count("REFUND_RETURNED") == 1
        mine = LedgerTransaction.order_id == checkout["order_id"]
        kinds = sorted(session.scalars(select(LedgerTransaction.kind).where(mine)))
        assert kinds == ["capture", "refund", "refund_returned"]
        assert list(imbalances(session)) == []


def test_access_may_be_left_to_the_buyer(shop, session, checkout):
    shop.refund(checkout, keeps_access=True)
    mine = (OutboxEvent.aggregateid == str(checkout["order_id"])) & (OutboxEvent.type == "PAYMENT_REFUNDED")
    [event] = session.scalars(select(OutboxEvent.payload).where(mine))
    assert (event["order_refunded"], event["access_kept"]) == (True, True)


def test_what_staff_wrote_is_not_for_the_buyer(shop, session, checkout):
    shop.refund(checkout, 100, reason="threatened us on the phone")
    mine = {"order_id": checkout["order_id"]}
    [seen] = list_refunds(session, **mine, user_id=shop.buyer, after=None, limit=20)["items"]
    [known] = list_refunds(session, **mine, user_id=None, after=None, limit=20)["items"]
    assert (seen["reason"], known["reason"]) == (SHOWN_REASON, "threatened us on the phone")
