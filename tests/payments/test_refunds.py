"""Money that goes back: never too much, never twice, and never forgotten."""

from datetime import timedelta
from functools import partial
from uuid import uuid4

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from models.base import now, sessions
from models.errors import (
    AlreadyPurchased,
    NotFound,
    OrderNotPaid,
    PaymentRefused,
    ProviderOutcomeUnknown,
    RefundTooLarge,
)
from models.outbox import OutboxEvent
from models.payments import Attempt, Refund
from models.payments.ledger import imbalances
from tests.payments.shop import Killed, NestedSessions, make_offer
from tests.payments.test_ledger import booked
from tests.payments.test_races import Committing
from tests.support.waiting import at_once
from workers.payments.checkouts import start_checkout
from workers.payments.refunds import list_refunds, refund_order, sync_refund, sync_refunds
from workers.payments.sync import sync_attempt

RACERS = 24


@pytest.fixture
def course_id(session):
    return make_offer(session)


@pytest.fixture
def checkout(shop, course_id):
    return shop.bought(course_id)


def refund_of(shop, checkout) -> Refund:
    [refund] = Refund.of_order(shop.session, checkout["order_id"])
    return refund


def payments(shop, checkout) -> tuple[str, int, int]:
    """Status of the order; what is set aside, what has gone back."""
    view = shop.order(checkout).view()
    return view["status"], view["refund_pending_minor"], view["refunded_minor"]


def refunded(session, checkout) -> list[tuple[int, bool]]:
    """What PAYMENT_REFUNDED told: the amounts, and whether the whole order has gone back."""
    session.flush()
    mine = OutboxEvent.aggregateid == str(checkout["order_id"])
    told = select(OutboxEvent.payload).where(mine, OutboxEvent.type == "PAYMENT_REFUNDED")
    events = session.scalars(told.order_by(OutboxEvent.aggregate_version))
    return [(event["amount_minor"], event["order_refunded"]) for event in events]


def sync(shop, refund: Refund) -> None:
    sync_refund(shop.sessions, shop.providers, refund_id=refund.id)


# What goes well.


def test_a_full_refund_ends_the_order_and_is_booked_and_told(shop, session, checkout):
    refund = shop.refund(checkout)
    assert (refund["status"], refund["amount_minor"]) == ("succeeded", 4900)
    assert payments(shop, checkout) == ("refunded", 0, 4900)
    assert shop.given_back(checkout) == [4900]
    assert booked(session, checkout, kind="refund") == {"provider.stripe.main": -4900, "refunds": 4900}
    assert refunded(session, checkout) == [(4900, True)]
    assert list(imbalances(session)) == []


def test_partial_refunds_add_up_to_a_full_one(shop, session, checkout):
    shop.refund(checkout, 1900)
    assert payments(shop, checkout) == ("partially_refunded", 0, 1900)
    with pytest.raises(AlreadyPurchased):  # access is still there
        shop.checkout(shop.order(checkout).course_id)
    assert shop.refund(checkout)["amount_minor"] == 3000
    assert payments(shop, checkout) == ("refunded", 0, 4900)
    assert refunded(session, checkout) == [(1900, False), (3000, True)]
    assert shop.given_back(checkout) == [1900, 3000]
    listed = list_refunds(session, order_id=checkout["order_id"], user_id=shop.buyer, after=None, limit=20)
    assert [each["amount_minor"] for each in listed["items"]] == [1900, 3000]


def test_what_was_refunded_can_be_bought_again(shop, checkout):
    shop.refund(checkout)
    again = shop.bought(shop.order(checkout).course_id)
    assert again["order_id"] != checkout["order_id"]
    assert shop.order(again).status == "paid"


def test_the_refund_of_one_order_leaves_another_alone(shop, session, checkout):
    # tutor#2346: refunding order A took what order B had paid for.
    other = shop.bought(make_offer(session))
    shop.refund(checkout)
    assert payments(shop, other) == ("paid", 0, 0)
    assert refunded(session, other) == []


# What is refused.


@pytest.mark.parametrize("amount_minor", [4901, 10**12])
def test_more_than_was_captured_is_refused(shop, checkout, amount_minor):
    with pytest.raises(RefundTooLarge):
        shop.refund(checkout, amount_minor)
    assert shop.given_back(checkout) == []


def test_more_than_is_left_is_refused_and_pending_money_is_not_left(shop, checkout):
    shop.standin.faults(pending_refunds=1)
    shop.refund(checkout, 4000)
    assert payments(shop, checkout) == ("paid", 4000, 0)
    with pytest.raises(RefundTooLarge) as refusal:
        shop.refund(checkout, 901)
    assert str(refusal.value) == "At most 900 USD (minor units) can be given back."


def test_nothing_is_left_of_what_has_gone_back(shop, checkout):
    shop.refund(checkout)
    with pytest.raises(RefundTooLarge):
        shop.refund(checkout)


def test_an_order_that_brought_no_money_has_none_to_give(shop, session, course_id):
    unpaid = shop.checkout(course_id)
    free = shop.checkout(make_offer(session, price_minor=0))
    for checkout in (unpaid, free):
        with pytest.raises(OrderNotPaid):
            shop.refund(checkout)


def test_an_order_that_is_not_there_is_not_found(shop, session, checkout):
    with pytest.raises(NotFound):
        shop.refund({"order_id": uuid4()})
    with pytest.raises(NotFound):
        list_refunds(session, order_id=checkout["order_id"], user_id=uuid4(), after=None, limit=20)


def test_database_refuses_a_promise_above_the_capture(shop, session, checkout):
    session.add(Refund.begin(shop.attempt(checkout), 4900, command_id=uuid4(), reason="asked for", at=now()))
    shop.attempt(checkout).refund_pending_minor += 1
    session.flush()
    with pytest.raises(IntegrityError, match="exceeds what was captured"):
        session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))


# What goes wrong on the way.


@pytest.mark.parametrize("killed_before", [2, 3, 4])
def test_a_command_that_is_cut_off_and_entered_again_gives_back_once(shop, checkout, killed_before):
    command_id = uuid4()
    cut_off = NestedSessions(shop.session, command_id=command_id)
    cut_off.killed_before = killed_before
    with pytest.raises(Killed):
        shop.refund(checkout, 1900, sessions=cut_off)
    refund = shop.refund(checkout, 1900, sessions=NestedSessions(shop.session, command_id=command_id))
    assert refund["status"] == "succeeded"
    assert shop.given_back(checkout) == [1900]
    assert payments(shop, checkout) == ("partially_refunded", 0, 1900)


def test_a_command_entered_again_after_the_job_finds_its_refund_done(shop, checkout):
    command_id = uuid4()
    cut_off = NestedSessions(shop.session, command_id=command_id)
    cut_off.killed_before = 2
    with pytest.raises(Killed):
        shop.refund(checkout, 1900, sessions=cut_off)
    sync(shop, refund_of(shop, checkout))
    shop.refund(checkout, 1900, sessions=NestedSessions(shop.session, command_id=command_id))
    assert shop.given_back(checkout) == [1900]


@pytest.mark.parametrize("fault", ["drop_response_after_commit", "error_500"])
def test_a_refund_of_unknown_outcome_is_a_promise_that_the_job_keeps(shop, checkout, fault):
    shop.standin.faults(**{fault: 3})
    assert shop.refund(checkout)["status"] == "unknown"
    assert payments(shop, checkout) == ("paid", 4900, 0)  # nobody gets it a second time meanwhile
    shop.standin.faults(**{fault: 0})
    sync(shop, refund_of(shop, checkout))
    assert shop.given_back(checkout) == [4900]
    assert payments(shop, checkout) == ("refunded", 0, 4900)


def test_a_provider_that_turns_us_away_gets_it_later(shop, checkout):
    shop.standin.faults(error_429=3)
    assert shop.refund(checkout)["status"] == "created"
    shop.standin.faults(error_429=0)
    sync(shop, refund_of(shop, checkout))
    assert shop.given_back(checkout) == [4900]


def test_after_a_day_a_refund_is_looked_for_before_any_new_key(shop, checkout):
    shop.standin.faults(drop_response_after_commit=3)
    shop.refund(checkout, 1900)
    shop.standin.faults(drop_response_after_commit=0)
    refund = refund_of(shop, checkout)
    refund.created_at -= timedelta(hours=30)
    sync(shop, refund)
    assert (refund.status, shop.given_back(checkout)) == ("succeeded", [1900])


def test_after_a_day_a_refund_that_is_in_no_list_was_never_made(shop, checkout):
    shop.standin.faults(error_429=3)
    shop.refund(checkout)
    shop.standin.faults(error_429=0)
    refund = refund_of(shop, checkout)
    refund.created_at -= timedelta(hours=30)
    sync(shop, refund)
    assert (refund.status, refund.problem) == ("failed", "never made")
    assert payments(shop, checkout) == ("paid", 0, 0)
    shop.refund(checkout)
    assert shop.given_back(checkout) == [4900]


def test_a_refusal_frees_the_money_again(shop, session, checkout):
    attempt = shop.attempt(checkout)
    shop.standin.post(f"/__dispute/{attempt.payment_id}", reason="fraudulent")
    with pytest.raises(PaymentRefused):
        shop.refund(checkout)
    assert payments(shop, checkout) == ("paid", 0, 0)
    assert refund_of(shop, checkout).problem == "charge_disputed"
    assert refunded(session, checkout) == []


def test_the_job_asks_about_what_is_due_and_again_later(shop, session, checkout):
    shop.standin.faults(pending_refunds=1)
    shop.refund(checkout)
    refund = refund_of(shop, checkout)
    refund.next_sync_at = now()
    session.flush()
    sync_refunds(session, shop.poke)
    assert ("payments.sync_refund", {"refund_id": refund.id}) in shop.poked
    assert refund.next_sync_at > now()


def test_a_refund_that_the_provider_lost_is_asked_for_again_and_never_failed(shop, checkout):
    shop.standin.faults(pending_refunds=1)
    shop.refund(checkout)
    refund = refund_of(shop, checkout)
    refund.object_id = "re_lost"
    shop.session.flush()
    shop.attempt(checkout).payment_id = "pi_another"
    with pytest.raises(ProviderOutcomeUnknown, match=r"^Stripe did not return a definite result"):
        sync(shop, refund)
    assert refund.status == "pending"


# What the provider tells.


def hear_of(shop, refund: Refund, kind: str) -> None:
    shop.hear(refund.object_id, kind)


def test_a_pending_refund_succeeds_by_webhook_and_by_job_alike(shop, session, checkout):
    shop.standin.faults(pending_refunds=1)
    assert shop.refund(checkout)["status"] == "pending"
    refund = refund_of(shop, checkout)
    shop.standin.post(f"/__refund/{refund.object_id}", outcome="succeed")
    hear_of(shop, refund, "refund.updated")
    sync(shop, refund)
    hear_of(shop, refund, "refund.created")
    assert payments(shop, checkout) == ("refunded", 0, 4900)
    assert refunded(session, checkout) == [(4900, True)]


def test_a_webhook_that_comes_twice_counts_once(shop, session, checkout):
    shop.refund(checkout, 1900)
    refund = refund_of(shop, checkout)
    for _ in range(2):
        hear_of(shop, refund, "refund.updated")
    assert payments(shop, checkout) == ("partially_refunded", 0, 1900)
    assert refunded(session, checkout) == [(1900, False)]


def test_a_webhook_that_overtakes_the_answer_is_no_second_refund(shop, session, checkout):
    cut_off = shop.sessions
    cut_off.killed_before = 3  # the provider has given back, and we have not heard
    with pytest.raises(Killed):
        shop.refund(checkout, sessions=cut_off)
    [made] = shop.providers["stripe"].refunds_of(shop.attempt(checkout).payment_id)
    shop.hear(made.object_id, "refund.updated")
    assert payments(shop, checkout) == ("refunded", 0, 4900)
    assert len(Refund.of_order(session, checkout["order_id"])) == 1


def test_a_failed_refund_gives_the_money_free(shop, session, checkout):
    shop.standin.faults(pending_refunds=1)
    shop.refund(checkout)
    refund = refund_of(shop, checkout)
    shop.standin.post(f"/__refund/{refund.object_id}", outcome="fail")
    hear_of(shop, refund, "refund.failed")
    assert (refund.status, refund.problem) == ("failed", "expired_or_canceled_card")
    assert payments(shop, checkout) == ("paid", 0, 0)
    assert refunded(session, checkout) == []


def test_a_refund_that_the_bank_sends_back_is_booked_back(shop, session, checkout):
    shop.refund(checkout)
    refund = refund_of(shop, checkout)
    shop.standin.post(f"/__refund/{refund.object_id}", outcome="fail")
    hear_of(shop, refund, "refund.failed")
    assert payments(shop, checkout) == ("paid", 0, 0)
    assert booked(session, checkout, kind="refund_returned") == {"provider.stripe.main": 4900, "refunds": -4900}
    assert list(imbalances(session)) == []


def test_a_refund_made_at_the_provider_counts_like_ours(shop, session, checkout):
    client = shop.providers["stripe"]._client  # noqa: SLF001 somebody's click in the dashboard
    made = client.v1.refunds.create({"payment_intent": shop.attempt(checkout).payment_id, "amount": 1900})
    shop.hear(made.id, "refund.updated")
    refund = refund_of(shop, checkout)
    assert (refund.status, refund.object_id, refund.requested_by) == ("succeeded", made.id, None)
    assert payments(shop, checkout) == ("partially_refunded", 0, 1900)
    with pytest.raises(RefundTooLarge):
        shop.refund(checkout, 3001)
    assert list(imbalances(session)) == []


def test_the_charges_webhook_leads_to_the_same_place(shop, checkout):
    client = shop.providers["stripe"]._client  # noqa: SLF001 somebody's click in the dashboard
    made = client.v1.refunds.create({"payment_intent": shop.attempt(checkout).payment_id})
    shop.hear(made.charge, "charge.refunded")
    assert payments(shop, checkout) == ("refunded", 0, 4900)


def test_a_refund_of_another_amount_is_held_for_review(shop, checkout):
    shop.standin.faults(pending_refunds=1)
    shop.refund(checkout)
    refund = refund_of(shop, checkout)
    refund.amount_minor = 4000
    shop.attempt(checkout).refund_pending_minor = 4000
    sync(shop, refund)
    assert (refund.status, refund.next_sync_at) == ("review", None)
    assert payments(shop, checkout) == ("paid", 4000, 0)


# Money that came twice.


def test_money_for_an_order_that_is_paid_goes_back_by_itself(shop, session, checkout, standin):
    # lago-api#5708: the page was open while another attempt was charged, and both were paid.
    order = shop.order(checkout)
    rival = Attempt.begin(shop.attempt(checkout).terms, open_for=timedelta(hours=1), at=now())
    order.attempts.append(rival)
    session.flush()
    sync_attempt(shop.sessions, shop.providers, attempt_id=rival.id)
    standin.pay(rival.page_id, "succeed")
    sync_attempt(shop.sessions, shop.providers, attempt_id=rival.id)
    assert rival.status == "duplicate"
    refund = refund_of(shop, checkout)
    assert (refund.reason, refund.requested_by) == ("paid twice", None)
    sync(shop, refund)
    assert (refund.status, rival.refunded_minor) == ("succeeded", 4900)
    assert payments(shop, checkout) == ("paid", 0, 0)
    assert refunded(session, checkout) == [(4900, False)]  # access stays
    assert booked(session, checkout, kind="refund")["owed_to_buyers"] == 4900
    assert list(imbalances(session)) == []


# Many at once.


@pytest.fixture
def committed(database, stripe, standin) -> dict:
    """The checkout of an order that is paid, all of it committed."""
    with sessions("payments").begin() as session:
        course_id = make_offer(session)
    message = {"provider": "stripe", "success_url": "https://shop.test/done", "cancel_url": None, "receipt_email": None}
    checkout = start_checkout(
        Committing(), {"stripe": stripe}, user_id=uuid4(), course_id=course_id, plan_id=None, **message
    )
    with sessions("payments")() as session:
        standin.pay(session.get_one(Attempt, checkout["id"]).page_id, "succeed")
    sync_attempt(Committing(), {"stripe": stripe}, attempt_id=checkout["id"])
    return checkout


def test_24_refunds_at_once_give_back_no_more_than_was_captured(committed, stripe, standin):
    # hyperswitch#13182: concurrent refunds above the capture.
    def refund() -> str:
        message = {"order_id": committed["order_id"], "reason": "asked for", "requested_by": uuid4()}
        try:
            return refund_order(Committing(), {"stripe": stripe}, amount_minor=1000, **message)["status"]
        except RefundTooLarge:
            return "too large"

    outcomes = at_once(*[refund] * RACERS)
    assert sorted(outcomes) == ["succeeded"] * 4 + ["too large"] * (RACERS - 4)
    with sessions("payments")() as session:
        attempt = session.get_one(Attempt, committed["id"])
        assert (attempt.refund_pending_minor, attempt.refunded_minor) == (0, 4000)
        assert list(imbalances(session)) == []
    [payment] = standin.payments_of(str(committed["order_id"]))
    assert payment["refunded_minor"] == 4000


def test_24_entries_of_one_command_give_back_once(committed, stripe, standin):
    command_id = uuid4()
    message = {"order_id": committed["order_id"], "reason": "asked for", "requested_by": uuid4()}
    entry = partial(refund_order, Committing(command_id), {"stripe": stripe}, amount_minor=1000, **message)
    assert len({refund["id"] for refund in at_once(*[entry] * RACERS)}) == 1
    [payment] = standin.payments_of(str(committed["order_id"]))
    assert payment["refunded_minor"] == 1000
