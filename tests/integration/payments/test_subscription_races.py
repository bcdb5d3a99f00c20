"""Concurrent requests with real commits: one subscription, one charge a period."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, update

from core.db import session_factory, utc_now
from models.errors import DomainError
from models.payments import Orders, Plan, SavedMethod, Subscription, Subscriptions
from tests.integration.payments.harness import CONCURRENCY, CommittingTransactions, make_offer
from tests.support.databases import Database
from tests.support.polling import eventually, run_concurrently
from workers.payments.checkouts import start_checkout
from workers.payments.domain_events import OrderAccessChanged
from workers.payments.payment_sync import sync_attempt
from workers.payments.subscriptions import end_or_restore_subscription, process_subscription, start_subscription


@pytest.fixture
def buyer(database: Database, stripe) -> UUID:
    """A buyer with a saved card."""
    buyer = uuid4()
    client = stripe._client.v1  # noqa: SLF001 a card from an earlier purchase
    customer = client.customers.create({})
    card = client.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    with session_factory("payments").begin() as session:
        method = {"method_id": card.id, "customer_id": customer.id}
        session.add(SavedMethod(user_id=buyer, provider="stripe", account="main", saved_at=utc_now(), **method))
    return buyer


@pytest.fixture
def subscribe_command(database: Database, buyer: UUID) -> dict[str, Any]:
    with session_factory("payments").begin() as session:
        terms = {"amount_minor": 4900, "currency": "USD", "interval": "month", "trial_days": 0}
        plan = Plan.create(name="Baking", course_ids=[str(make_offer(session))], at=utc_now(), **terms)
        session.add(plan)
        return {"user_id": buyer, "plan_id": plan.id, "provider": "stripe", "receipt_email": None}


def outcome(act: partial) -> Any:
    """Return the result of ``act``, or the name of the error it raised."""
    try:
        return act()
    except DomainError as refusal:
        return type(refusal).__name__


def charges(fake_stripe, database: Database) -> int:
    """Return the number of Stripe's payments for the stored orders."""
    ours = {str(order_id) for (order_id,) in database.rows("SELECT id FROM payments.orders")}
    return sum(payment["order_id"] in ours for payment in fake_stripe.get("/__state")["payments"])


def test_concurrent_subscribe_charges_once(database, fake_stripe, stripe, subscribe_command):
    begin = partial(start_subscription, CommittingTransactions(), {"stripe": stripe}, **subscribe_command)
    outcomes = run_concurrently(*[partial(outcome, begin)] * CONCURRENCY)
    started = [each for each in outcomes if isinstance(each, dict)]
    assert len({each["id"] for each in started}) == 1
    assert {each for each in outcomes if isinstance(each, str)} <= {"AlreadySubscribed", "CheckoutOutcomeUnknown"}
    assert (database.count("payments.subscriptions"), database.count("payments.orders")) == (1, 1)
    assert charges(fake_stripe, database) == 1
    assert database.rows("SELECT type FROM bus.outbox WHERE type LIKE 'SUBSCRIPTION%'") == [("SUBSCRIPTION_STARTED",)]


def test_concurrent_jobs_charge_period_once(database, fake_stripe, stripe, subscribe_command):
    started = start_subscription(CommittingTransactions(), {"stripe": stripe}, **subscribe_command)
    with session_factory("payments").begin() as session:
        session.execute(update(Subscription).values(next_step_at=utc_now()))
    advance = partial(process_subscription, CommittingTransactions(), {"stripe": stripe}, subscription_id=started["id"])
    run_concurrently(*[partial(outcome, advance)] * CONCURRENCY)
    assert charges(fake_stripe, database) == database.count("payments.orders") == 2
    statement = "SELECT type FROM bus.outbox WHERE type LIKE 'SUBSCRIPTION%' ORDER BY seq"
    assert database.rows(statement) == [("SUBSCRIPTION_STARTED",), ("SUBSCRIPTION_RENEWED",)]


def test_concurrent_syncs_start_one_subscription(database, fake_stripe, stripe, subscribe_command):
    page = {"course_id": None, "success_url": None, "cancel_url": None}
    checkout = start_checkout(CommittingTransactions(), {"stripe": stripe}, **subscribe_command | page)
    fake_stripe.pay(checkout["redirect_url"].rpartition("/")[2], "succeed")
    sync = partial(sync_attempt, CommittingTransactions(), {"stripe": stripe}, attempt_id=checkout["id"])
    run_concurrently(*[sync] * CONCURRENCY)
    statement = "SELECT type FROM bus.outbox WHERE aggregatetype = 'payments' ORDER BY seq"
    assert sorted(database.rows(statement)) == [("PAYMENT_SUCCEEDED",), ("SUBSCRIPTION_STARTED",)]
    assert charges(fake_stripe, database) == 1


@pytest.mark.parametrize("trial_days", [0, 14])
def test_concurrent_first_checkouts_do_not_deadlock(database, fake_stripe, stripe, trial_days: int):
    pages = {"success_url": None, "cancel_url": None, "receipt_email": None, "provider": "stripe"}
    terms = {"amount_minor": 4900, "currency": "USD", "interval": "month", "trial_days": trial_days}
    with session_factory("payments").begin() as session:
        plan = Plan.create(name="Baking", course_ids=[str(make_offer(session))], at=utc_now(), **terms)
        session.add(plan)

    for _ in range(4):
        message = {"user_id": uuid4(), "course_id": None, "plan_id": plan.id, **pages}
        # A deadlock raises OperationalError here, because nothing repeats the transaction.
        begin = partial(outcome, partial(start_checkout, CommittingTransactions(), {"stripe": stripe}, **message))
        outcomes = run_concurrently(*[begin] * CONCURRENCY)
        refused = {each for each in outcomes if isinstance(each, str)}
        assert refused <= {"CheckoutOutcomeUnknown", "PaymentInProgress"}, refused

    trials = "SELECT count(*) FROM bus.outbox WHERE type = 'SUBSCRIPTION_STARTED'"
    assert database.value(trials) == (4 if trial_days else 0)
    assert database.count("payments.subscriptions") == 4


def test_concurrent_trials_with_common_course_start_one(database, stripe):
    with session_factory("payments").begin() as session:
        common = str(make_offer(session))
        terms = {"amount_minor": 4900, "currency": "USD", "interval": "month", "trial_days": 14}
        plans = [
            Plan.create(name="Baking", course_ids=[common, str(make_offer(session))], at=utc_now(), **terms)
            for _ in range(CONCURRENCY)
        ]
        session.add_all(plans)
        plan_ids = [plan.id for plan in plans]
    subscribe_command = {
        "user_id": uuid4(),
        "course_id": None,
        "success_url": None,
        "cancel_url": None,
        "receipt_email": None,
    }
    begin = partial(
        start_checkout, CommittingTransactions(), {"stripe": stripe}, provider="stripe", **subscribe_command
    )

    run_concurrently(*[partial(outcome, partial(begin, plan_id=plan_id)) for plan_id in plan_ids])

    statuses = database.rows("SELECT status FROM payments.subscriptions ORDER BY status")
    assert statuses == [("incomplete",)] * (CONCURRENCY - 1) + [("trialing",)]


def test_restore_locks_order_of_later_subscription_first(database, stripe, subscribe_command):
    started = start_subscription(CommittingTransactions(), {"stripe": stripe}, **subscribe_command)
    with session_factory("payments").begin() as session:
        subscription = session.get_one(Subscription, started["id"])
        paid_order_id = subscription.paid_order_id
        subscription.end_for_reversal(reason="refunded", at=utc_now())
    page = {"course_id": None, "success_url": None, "cancel_url": None}
    later_order_id = start_checkout(CommittingTransactions(), {"stripe": stripe}, **subscribe_command | page)[
        "order_id"
    ]

    def restore() -> None:
        with session_factory("payments").begin() as session:
            order = Orders(session).get_for_update(paid_order_id)
            end_or_restore_subscription(session, OrderAccessChanged(order, "refunded"))

    with ThreadPoolExecutor(1) as pool:
        with session_factory("payments").begin() as session:
            Orders(session).get_for_update(later_order_id)
            restoring = pool.submit(restore)
            eventually(lambda: database.value("SELECT count(*) FROM pg_locks WHERE NOT granted"), "the other lock")
            # ``restore`` waits for the order. This transaction may lock the subscription, which must be free.
            session.execute(
                select(Subscription.id).where(Subscription.id == started["id"]).with_for_update(nowait=True)
            )
        restoring.result()
    with session_factory("payments")() as session:
        assert session.get_one(Subscription, started["id"]).status == "active"


def test_pending_order_inserted_between_locks_is_locked(database, stripe, subscribe_command, monkeypatch):
    started = start_subscription(CommittingTransactions(), {"stripe": stripe}, **subscribe_command)
    with session_factory("payments").begin() as session:
        period = session.get_one(Subscription, started["id"]).next_period()
    select_orders = Orders.list_for_subscriptions_for_update
    added = []

    def select_before_insert(orders, subscription_ids):
        found = select_orders(orders, subscription_ids)
        monkeypatch.setattr(Orders, "list_for_subscriptions_for_update", select_orders)
        renewal = {
            "user_id": subscribe_command["user_id"],
            "subscription_id": started["id"],
            "period": period,
            "at": utc_now(),
        }
        with session_factory("payments").begin() as another:
            added.append(Orders(another).get_or_create_for_period(**renewal).id)
        return found

    monkeypatch.setattr(Orders, "list_for_subscriptions_for_update", select_before_insert)
    with session_factory("payments").begin() as session:
        _subscription, order = Subscriptions(session).get_for_update(started["id"])

    assert [order.id] == added
