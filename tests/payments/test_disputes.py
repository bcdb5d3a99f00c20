"""Disputes: a bank takes money back, and decides. Each is followed once, in whatever order it is told."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import permutations
from uuid import uuid4

import pytest
from sqlalchemy import select

from models.base import now, sessions
from models.errors import AlreadyPurchased, RefundTooLarge
from models.outbox import OutboxEvent
from models.payments import Attempt, Dispute, DisputeSnapshot, Movement, Order, Reconciliation
from models.payments.ledger import LedgerTransaction, imbalances
from models.payments.reconciliations import DAY
from tests.payments.shop import Shop, make_offer, paid, steps, told
from tests.payments.test_ledger import booked
from tests.payments.test_races import Committing
from tests.support.waiting import at_once
from workers.payments.checkouts import start_checkout
from workers.payments.disputes import apply_dispute, list_disputes
from workers.payments.ledger import list_ledger_entries
from workers.payments.sync import apply_snapshot, sync_attempt

RACERS = 24
TAKEN_BACK = {"provider.stripe.main": -4900, "disputes": 4900}
GIVEN_AGAIN = {"provider.stripe.main": 4900, "disputes": -4900}


@pytest.fixture
def checkout(shop, session):
    return shop.bought(make_offer(session))


def act(shop: Shop, checkout, **message) -> str:
    """What the bank does, by the stand-in's hand; returns the dispute's id there."""
    return str(shop.standin.post(f"/__dispute/{shop.attempt(checkout).payment_id}", **message)["id"])


def hear(shop: Shop, object_id: str, *kinds: str) -> None:
    for kind in kinds:
        shop.hear(object_id, f"charge.dispute.{kind}")


def the_one(shop: Shop, checkout) -> Dispute:
    shop.session.flush()
    [dispute] = shop.session.scalars(select(Dispute).where(Dispute.order_id == checkout["order_id"]))
    return dispute


def counted(shop: Shop, checkout) -> tuple[str, int, int]:
    """The order's status; what a bank holds, and what it has taken for good."""
    attempt = shop.attempt(checkout)
    return shop.order(checkout).status, attempt.disputed_minor, attempt.charged_back_minor


def news(shop: Shop, checkout) -> list[dict]:
    """What was told of disputes, without what does not change."""
    shop.session.flush()
    mine = (OutboxEvent.aggregateid == str(checkout["order_id"])) & OutboxEvent.type.contains("DISPUTE")
    events = shop.session.scalars(select(OutboxEvent).where(mine).order_by(OutboxEvent.aggregate_version))
    names = ("won", "order_suspended", "order_restored", "order_charged_back")
    return [{name: event.payload[name] for name in names if name in event.payload} for event in events]


SUSPENDED = {"order_suspended": True}
WON = {"won": True, "order_restored": True, "order_charged_back": False}
LOST = {"won": False, "order_restored": False, "order_charged_back": True}


def test_an_open_dispute_suspends_the_order_and_is_booked_and_told_once(shop, session, checkout):
    dispute = act(shop, checkout)
    hear(shop, dispute, "created", "funds_withdrawn", "created")
    assert counted(shop, checkout) == ("disputed", 4900, 0)
    assert booked(session, checkout, kind="dispute") == TAKEN_BACK
    assert news(shop, checkout) == [SUSPENDED]
    assert list(imbalances(session)) == []
    assert steps(shop, checkout)[-1] == "dispute_open"
    with pytest.raises(RefundTooLarge):  # it must not go back twice
        shop.refund(checkout)
    with pytest.raises(AlreadyPurchased):  # nor be paid twice, while it may be theirs again
        shop.checkout(shop.order(checkout).course_id)


def test_a_dispute_that_is_won_restores_the_order(shop, session, checkout):
    dispute = act(shop, checkout)
    hear(shop, dispute, "created")
    act(shop, checkout, outcome="won")
    hear(shop, dispute, "funds_reinstated", "closed")
    assert counted(shop, checkout) == ("paid", 0, 0)
    assert booked(session, checkout, kind="dispute_won") == GIVEN_AGAIN
    assert news(shop, checkout) == [SUSPENDED, WON]
    assert list(imbalances(session)) == []
    assert shop.refund(checkout)["status"] == "succeeded"


def test_a_dispute_that_is_lost_is_the_orders_end(shop, session, checkout):
    dispute = act(shop, checkout)
    hear(shop, dispute, "created")
    act(shop, checkout, outcome="lost")
    hear(shop, dispute, "closed", "closed")
    assert counted(shop, checkout) == ("charged_back", 0, 4900)
    assert booked(session, checkout, kind="dispute") == TAKEN_BACK
    assert news(shop, checkout) == [SUSPENDED, LOST]
    assert list(imbalances(session)) == []
    with pytest.raises(RefundTooLarge):
        shop.refund(checkout)


@pytest.mark.parametrize("kinds", list(permutations(["created", "funds_withdrawn", "closed"])))
def test_what_is_heard_only_after_its_end_ends_the_same_in_any_order(shop, session, checkout, kinds):
    dispute = act(shop, checkout)
    act(shop, checkout, outcome="lost")
    hear(shop, dispute, *kinds)
    assert counted(shop, checkout) == ("charged_back", 0, 4900)
    assert booked(session, checkout, kind="dispute") == TAKEN_BACK
    assert news(shop, checkout) == [LOST]


def snapshot(dispute: Dispute, status: str) -> DisputeSnapshot:
    return DisputeSnapshot(
        object_id=dispute.object_id,
        status=status,
        amount_minor=dispute.amount_minor,
        currency=dispute.currency,
        reason=dispute.reason,
        respond_by=None,
    )


def say(shop: Shop, checkout, said: DisputeSnapshot) -> None:
    order = shop.order(checkout)
    apply_dispute(shop.session, order, order.attempt(checkout["id"]), said)
    shop.session.flush()


def test_what_was_fetched_earlier_and_applied_later_changes_nothing(shop, session, checkout):
    hear(shop, act(shop, checkout), "created")
    dispute = the_one(shop, checkout)
    for status in ("won", "open", "lost", "inquiry"):
        say(shop, checkout, snapshot(dispute, status))
    assert (counted(shop, checkout), dispute.status) == (("paid", 0, 0), "won")
    assert news(shop, checkout) == [SUSPENDED, WON]


def test_a_lost_dispute_may_be_won_late(shop, session, checkout):
    hear(shop, act(shop, checkout), "created")
    dispute = the_one(shop, checkout)
    for status in ("lost", "won"):
        say(shop, checkout, snapshot(dispute, status))
    assert counted(shop, checkout) == ("paid", 0, 0)
    assert news(shop, checkout) == [SUSPENDED, LOST, WON]
    assert list(imbalances(session)) == []


def test_an_inquiry_takes_nothing_until_it_is_a_dispute(shop, session, checkout):
    dispute = act(shop, checkout, inquiry="true")
    hear(shop, dispute, "created")
    assert (counted(shop, checkout), the_one(shop, checkout).status) == (("paid", 0, 0), "inquiry")
    assert (booked(session, checkout, kind="dispute"), news(shop, checkout)) == ({}, [])
    act(shop, checkout, outcome="escalated")
    hear(shop, dispute, "updated")
    assert counted(shop, checkout) == ("disputed", 4900, 0)


def test_an_inquiry_that_ends_was_nothing(shop, session, checkout):
    dispute = act(shop, checkout, inquiry="true")
    act(shop, checkout, outcome="won")
    hear(shop, dispute, "closed")
    assert (counted(shop, checkout), news(shop, checkout)) == (("paid", 0, 0), [])


def test_a_part_that_is_lost_leaves_the_order_as_a_partial_refund_does(shop, session, checkout):
    dispute = act(shop, checkout, amount=1900)
    hear(shop, dispute, "created")
    assert counted(shop, checkout) == ("disputed", 1900, 0)
    act(shop, checkout, outcome="lost")
    hear(shop, dispute, "closed")
    assert counted(shop, checkout) == ("partially_refunded", 0, 1900)
    assert news(shop, checkout)[-1] == {"won": False, "order_restored": True, "order_charged_back": False}
    with pytest.raises(RefundTooLarge):
        shop.refund(checkout, 3001)


def test_what_a_refund_had_left_and_a_dispute_has_taken_is_all_of_it(shop, session, checkout):
    shop.refund(checkout, 3000)
    dispute = act(shop, checkout, amount=1900)
    act(shop, checkout, outcome="lost")
    hear(shop, dispute, "closed")
    assert counted(shop, checkout) == ("charged_back", 0, 1900)
    assert news(shop, checkout) == [LOST]


def test_more_than_is_left_after_a_refund_may_be_taken_and_no_more_is_given_back(shop, session, checkout):
    shop.refund(checkout, 1900)
    hear(shop, act(shop, checkout, amount=4900), "created")
    assert (counted(shop, checkout), shop.attempt(checkout).refundable_minor) == (("disputed", 4900, 0), 0)
    assert list(imbalances(session)) == []


def test_a_dispute_of_money_that_had_gone_back_suspends_nothing(shop, checkout):
    shop.refund(checkout)
    dispute = act(shop, checkout)
    hear(shop, dispute, "created")
    act(shop, checkout, outcome="won")
    hear(shop, dispute, "closed")
    assert shop.order(checkout).status == "refunded"
    assert [each.get("order_suspended", each.get("order_restored")) for each in news(shop, checkout)] == [False, False]


def test_a_dispute_in_another_currency_is_for_a_person(shop, session, checkout):
    said = DisputeSnapshot(
        object_id="du_1", status="open", amount_minor=4900, currency="EUR", reason="fraudulent", respond_by=None
    )
    for _ in range(2):
        say(shop, checkout, said)
    dispute = the_one(shop, checkout)
    assert (dispute.status, dispute.problem) == ("review", "does not match: currency")
    assert (counted(shop, checkout), news(shop, checkout)) == (("paid", 0, 0), [])


@pytest.mark.parametrize("status", ["open", "lost"])
def test_changed_amount_of_a_dispute_is_counted_and_booked(shop, session, checkout, status):
    hear(shop, act(shop, checkout), "created")
    dispute = the_one(shop, checkout)

    for amount_minor in (1900, 1900, 2900):
        say(shop, checkout, replace(snapshot(dispute, status), amount_minor=amount_minor))

    at_bank = (2900, 0) if status == "open" else (0, 2900)
    assert counted(shop, checkout)[1:] == at_bank
    assert (dispute.amount_minor, dispute.problem) == (2900, None)
    assert booked_sum(session, checkout) == {"provider.stripe.main": -2900, "disputes": 2900}
    assert list(imbalances(session)) == []
    say(shop, checkout, snapshot(dispute, "won"))
    assert (counted(shop, checkout), booked_sum(session, checkout)) == (("paid", 0, 0), {})
    assert list(imbalances(session)) == []


def booked_sum(session, checkout) -> dict[str, int]:
    """What the disputes of an order have moved, by account; accounts with the sum zero are left out."""
    sums = Counter()
    for kind in ("dispute", "dispute_changed", "dispute_won"):
        page = list_ledger_entries(session, order_id=checkout["order_id"], account=None, limit=50, after=None)
        for entry in page["items"]:
            sums[entry["account"]] += entry["amount_minor"] if entry["kind"] == kind else 0
    return {account: amount for account, amount in sums.items() if amount}


def test_changed_amount_of_a_lost_dispute_moves_access(shop, checkout):
    hear(shop, act(shop, checkout), "created")
    dispute = the_one(shop, checkout)
    say(shop, checkout, snapshot(dispute, "lost"))

    say(shop, checkout, replace(snapshot(dispute, "lost"), amount_minor=1900))
    say(shop, checkout, replace(snapshot(dispute, "lost"), amount_minor=2900))

    assert counted(shop, checkout) == ("partially_refunded", 0, 2900)
    assert news(shop, checkout) == [SUSPENDED, LOST, {**WON, "won": False}]


def test_changed_amount_with_a_new_status_returns_what_was_taken(shop, session, checkout):
    hear(shop, act(shop, checkout), "created")
    dispute = the_one(shop, checkout)

    say(shop, checkout, replace(snapshot(dispute, "won"), amount_minor=1900))

    assert (counted(shop, checkout), booked_sum(session, checkout)) == (("paid", 0, 0), {})
    assert list(imbalances(session)) == []


def test_changed_deadline_and_amount_of_an_inquiry_are_stored(shop, session, checkout):
    hear(shop, act(shop, checkout, inquiry="true"), "created")
    dispute = the_one(shop, checkout)
    later = dispute.respond_by + timedelta(days=5)

    say(shop, checkout, replace(snapshot(dispute, "inquiry"), amount_minor=1900, respond_by=later))

    assert (dispute.respond_by, dispute.amount_minor) == (later, 1900)
    assert (booked_sum(session, checkout), news(shop, checkout)) == ({}, [])


def test_changed_deadline_of_an_open_dispute_is_stored(shop, checkout):
    hear(shop, act(shop, checkout), "created")
    dispute = the_one(shop, checkout)
    later = dispute.respond_by + timedelta(days=5)

    say(shop, checkout, replace(snapshot(dispute, "open"), respond_by=later))

    assert (dispute.respond_by, counted(shop, checkout)) == (later, ("disputed", 4900, 0))
    assert news(shop, checkout) == [SUSPENDED]


def test_amount_in_another_currency_does_not_replace_the_known_one(shop, session, checkout):
    hear(shop, act(shop, checkout), "created")
    dispute = the_one(shop, checkout)

    say(shop, checkout, replace(snapshot(dispute, "lost"), amount_minor=5900, currency="EUR"))

    assert (counted(shop, checkout), dispute.problem) == (("charged_back", 0, 4900), "does not match: currency")
    assert list(imbalances(session)) == []


def test_changed_amount_agrees_with_the_list_of_the_provider(shop, session, checkout):
    dispute_id = act(shop, checkout)
    hear(shop, dispute_id, "created")
    say(shop, checkout, replace(snapshot(the_one(shop, checkout), "open"), amount_minor=1900))
    payment_id = shop.attempt(checkout).payment_id
    moved = Movement(
        kind="dispute",
        object_id=dispute_id,
        payment_id=payment_id,
        attempt_id=None,
        amount_minor=1900,
        currency="USD",
    )

    differing = Reconciliation.compare(
        session, [moved], provider="stripe", account="main", since=now() - 2 * DAY, at=now()
    )

    assert differing == []


def test_a_dispute_of_money_that_came_twice_is_not_the_orders(shop, session, checkout):
    order = shop.order(checkout)
    rival = Attempt.begin(
        shop.attempt(checkout).terms, open_for=order.attempts[0].expires_at - order.created_at, at=order.created_at
    )
    order.attempts.append(rival)
    session.flush()
    apply_snapshot(session, rival, paid(rival, payment_id="pi_rival"))
    said = DisputeSnapshot(
        object_id="du_2", status="open", amount_minor=4900, currency="USD", reason="duplicate", respond_by=None
    )
    apply_dispute(session, shop.order(checkout), rival, said)
    assert (shop.order(checkout).status, rival.disputed_minor) == ("paid", 4900)
    assert booked(session, checkout, kind="dispute") == {"provider.stripe.main": -4900, "owed_to_buyers": 4900}
    assert list(imbalances(session)) == []


def test_staff_see_them_by_order_and_status(shop, session, checkout):
    dispute = act(shop, checkout)
    hear(shop, dispute, "created")
    query = {"limit": 5, "after": None}
    [seen] = list_disputes(session, order_id=checkout["order_id"], status="open", **query)["items"]
    assert (seen["provider_id"], seen["reason"], seen["amount_minor"]) == (dispute, "fraudulent", 4900)
    assert seen["respond_by"] > seen["opened_at"]
    assert list_disputes(session, order_id=checkout["order_id"], status="lost", **query)["items"] == []


def test_24_who_hear_of_it_at_once_follow_it_once(database, stripe, standin):
    with sessions("payments").begin() as session:
        course_id = make_offer(session)
    wish = {"provider": "stripe", "success_url": "https://shop.test/done", "cancel_url": None, "receipt_email": None}
    shops = {"stripe": stripe}
    checkout = start_checkout(Committing(), shops, user_id=uuid4(), course_id=course_id, plan_id=None, **wish)
    with sessions("payments")() as session:
        standin.pay(session.get_one(Attempt, checkout["id"]).page_id, "succeed")
    sync_attempt(Committing(), shops, attempt_id=checkout["id"])
    with sessions("payments")() as session:
        payment_id = session.get_one(Attempt, checkout["id"]).payment_id
    standin.post(f"/__dispute/{payment_id}")
    [opened] = stripe.disputes_of(payment_id)
    standin.post(f"/__dispute/{payment_id}", outcome="won")
    [won] = stripe.disputes_of(payment_id)

    def hear_of(said: DisputeSnapshot) -> None:
        with sessions("payments").begin() as session:
            order = Order.locked(session, checkout["order_id"])
            apply_dispute(session, order, order.attempt(checkout["id"]), said)

    hear_of(opened)
    at_once(*[partial(hear_of, opened), partial(hear_of, won)] * (RACERS // 2))
    with sessions("payments")() as session:
        attempt = session.get_one(Attempt, checkout["id"])
        assert (attempt.disputed_minor, attempt.charged_back_minor) == (0, 0)
        assert told(session, checkout["order_id"])[-2:] == ["PAYMENT_DISPUTED", "DISPUTE_CLOSED"]
        mine = LedgerTransaction.order_id == checkout["order_id"]
        kinds = sorted(session.scalars(select(LedgerTransaction.kind).where(mine)))
        assert kinds == ["capture", "dispute", "dispute_won"]
        assert list(imbalances(session)) == []
