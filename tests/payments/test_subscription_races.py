"""Many at once, with real commits: one subscription, one charge a period."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, update

from models.base import now, sessions
from models.errors import DomainError
from models.payments import Order, Plan, SavedMethod, Subscription
from tests.payments.shop import make_offer
from tests.payments.test_races import TWINS, Committing
from tests.support.databases import Database
from tests.support.waiting import at_once, eventually
from workers.payments.checkouts import start_checkout
from workers.payments.periods import follow_money
from workers.payments.subscriptions import advance_subscription, start_subscription
from workers.payments.sync import sync_attempt


@pytest.fixture
def buyer(database: Database, stripe) -> UUID:
    """Somebody whose card is saved."""
    buyer = uuid4()
    client = stripe._client.v1  # noqa: SLF001 the card of somebody who was here before
    customer = client.customers.create({})
    card = client.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    with sessions("payments").begin() as session:
        method = {"method_id": card.id, "customer_id": customer.id}
        session.add(SavedMethod(user_id=buyer, provider="stripe", account="main", saved_at=now(), **method))
    return buyer


@pytest.fixture
def wish(database: Database, buyer: UUID) -> dict[str, Any]:
    with sessions("payments").begin() as session:
        terms = {"amount_minor": 4900, "currency": "USD", "interval": "month", "trial_days": 0}
        plan = Plan.make(name="Baking", course_ids=[str(make_offer(session))], at=now(), **terms)
        session.add(plan)
        return {"user_id": buyer, "plan_id": plan.id, "provider": "stripe", "receipt_email": None}


def outcome(act: partial) -> Any:
    """What ``act`` returned, or the name of what it refused with."""
    try:
        return act()
    except DomainError as refusal:
        return type(refusal).__name__


def charges(standin, database: Database) -> int:
    """How many payments Stripe has taken for the orders that are here."""
    ours = {str(order_id) for (order_id,) in database.rows("SELECT id FROM payments.orders")}
    return sum(payment["order_id"] in ours for payment in standin.get("/__state")["payments"])


def test_twin_wishes_make_one_subscription_and_one_charge(database, standin, stripe, wish):
    begin = partial(start_subscription, Committing(), {"stripe": stripe}, **wish)
    outcomes = at_once(*[partial(outcome, begin)] * TWINS)
    begun = [each for each in outcomes if isinstance(each, dict)]
    assert len({each["id"] for each in begun}) == 1
    assert {each for each in outcomes if isinstance(each, str)} <= {"AlreadySubscribed", "CheckoutOutcomeUnknown"}
    assert (database.count("payments.subscriptions"), database.count("payments.orders")) == (1, 1)
    assert charges(standin, database) == 1
    assert database.rows("SELECT type FROM bus.outbox WHERE type LIKE 'SUBSCRIPTION%'") == [("SUBSCRIPTION_STARTED",)]


def test_twin_jobs_charge_for_a_period_once(database, standin, stripe, wish):
    begun = start_subscription(Committing(), {"stripe": stripe}, **wish)
    with sessions("payments").begin() as session:
        session.execute(update(Subscription).values(next_step_at=now()))
    advance = partial(advance_subscription, Committing(), {"stripe": stripe}, subscription_id=begun["id"])
    at_once(*[partial(outcome, advance)] * TWINS)
    assert charges(standin, database) == database.count("payments.orders") == 2
    told = "SELECT type FROM bus.outbox WHERE type LIKE 'SUBSCRIPTION%' ORDER BY seq"
    assert database.rows(told) == [("SUBSCRIPTION_STARTED",), ("SUBSCRIPTION_RENEWED",)]


def test_twin_news_of_one_payment_begin_one_subscription(database, standin, stripe, wish):
    page = {"course_id": None, "success_url": None, "cancel_url": None}
    checkout = start_checkout(Committing(), {"stripe": stripe}, **wish | page)
    standin.pay(checkout["redirect_url"].rpartition("/")[2], "succeed")
    hear = partial(sync_attempt, Committing(), {"stripe": stripe}, attempt_id=checkout["id"])
    at_once(*[hear] * TWINS)
    told = "SELECT type FROM bus.outbox WHERE aggregatetype = 'payments' ORDER BY seq"
    assert sorted(database.rows(told)) == [("PAYMENT_SUCCEEDED",), ("SUBSCRIPTION_STARTED",)]
    assert charges(standin, database) == 1


@pytest.mark.parametrize("trial_days", [0, 14])
def test_first_checkouts_of_a_plan_at_once_do_not_deadlock(database, standin, stripe, trial_days: int):
    pages = {"success_url": None, "cancel_url": None, "receipt_email": None, "provider": "stripe"}
    terms = {"amount_minor": 4900, "currency": "USD", "interval": "month", "trial_days": trial_days}
    with sessions("payments").begin() as session:
        plan = Plan.make(name="Baking", course_ids=[str(make_offer(session))], at=now(), **terms)
        session.add(plan)

    for _ in range(4):
        message = {"user_id": uuid4(), "course_id": None, "plan_id": plan.id, **pages}
        # A deadlock raises OperationalError here, because nothing repeats the transaction.
        begin = partial(outcome, partial(start_checkout, Committing(), {"stripe": stripe}, **message))
        outcomes = at_once(*[begin] * TWINS)
        refused = {each for each in outcomes if isinstance(each, str)}
        assert refused <= {"CheckoutOutcomeUnknown", "PaymentInProgress"}, refused

    trials = "SELECT count(*) FROM bus.outbox WHERE type = 'SUBSCRIPTION_STARTED'"
    assert database.value(trials) == (4 if trial_days else 0)
    assert database.count("payments.subscriptions") == 4


def test_trials_of_plans_with_a_common_course_at_once_begin_one(database, stripe):
    with sessions("payments").begin() as session:
        common = str(make_offer(session))
        terms = {"amount_minor": 4900, "currency": "USD", "interval": "month", "trial_days": 14}
        plans = [
            Plan.make(name="Baking", course_ids=[common, str(make_offer(session))], at=now(), **terms)
            for _ in range(TWINS)
        ]
        session.add_all(plans)
        plan_ids = [plan.id for plan in plans]
    wish = {"user_id": uuid4(), "course_id": None, "success_url": None, "cancel_url": None, "receipt_email": None}
    begin = partial(start_checkout, Committing(), {"stripe": stripe}, provider="stripe", **wish)

    at_once(*[partial(outcome, partial(begin, plan_id=plan_id)) for plan_id in plan_ids])

    statuses = database.rows("SELECT status FROM payments.subscriptions ORDER BY status")
    assert statuses == [("incomplete",)] * (TWINS - 1) + [("trialing",)]


def test_restoring_a_subscription_locks_the_order_of_the_later_one_first(database, stripe, wish):
    begun = start_subscription(Committing(), {"stripe": stripe}, **wish)
    with sessions("payments").begin() as session:
        subscription = session.get_one(Subscription, begun["id"])
        paid_order_id = subscription.paid_order_id
        subscription.lose(reason="refunded", at=now())
    page = {"course_id": None, "success_url": None, "cancel_url": None}
    later_order_id = start_checkout(Committing(), {"stripe": stripe}, **wish | page)["order_id"]

    def restore() -> None:
        with sessions("payments").begin() as session:
            follow_money(session, Order.locked(session, paid_order_id), reason="refunded")

    with ThreadPoolExecutor(1) as pool:
        with sessions("payments").begin() as session:
            Order.locked(session, later_order_id)
            restoring = pool.submit(restore)
            eventually(lambda: database.value("SELECT count(*) FROM pg_locks WHERE NOT granted"), "the other lock")
            # It waits for the order. This transaction may lock the subscription, which must be free.
            session.execute(select(Subscription.id).where(Subscription.id == begun["id"]).with_for_update(nowait=True))
        restoring.result()
    with sessions("payments")() as session:
        assert session.get_one(Subscription, begun["id"]).status == "active"


def test_pending_order_that_is_added_between_the_locks_is_locked_too(database, stripe, wish, monkeypatch):
    begun = start_subscription(Committing(), {"stripe": stripe}, **wish)
    with sessions("payments").begin() as session:
        period = session.get_one(Subscription, begun["id"]).next_period()
    look = Order.locked_of_subscriptions
    added = []

    def look_too_early(session, subscription_ids):
        found = look(session, subscription_ids)
        monkeypatch.setattr(Order, "locked_of_subscriptions", look)
        renewal = {"user_id": wish["user_id"], "subscription_id": begun["id"], "period": period, "at": now()}
        with sessions("payments").begin() as another:
            added.append(Order.for_period(another, **renewal).id)
        return found

    monkeypatch.setattr(Order, "locked_of_subscriptions", look_too_early)
    with sessions("payments").begin() as session:
        _subscription, order = Subscription.locked(session, begun["id"])

    assert [order.id] == added
