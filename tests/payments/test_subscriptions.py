"""Subscriptions by plain calls, at both providers: begun, renewed, past due, given up, over."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from models import clock
from models.base import now
from models.errors import (
    AlreadySubscribed,
    NotFound,
    PaymentMethodMissing,
    PaymentRefused,
    ProviderOutcomeUnknown,
    SubscriptionEnded,
)
from models.events import UserDeleted
from models.outbox import OutboxEvent
from models.payments import Attempt, Order, Plan, Refund, SavedMethod, Subscription
from models.payments.plans import after_periods
from models.payments.subscriptions import DUNNING
from tests.payments.shop import Shop, make_offer, paid, told
from tests.support.events import some
from workers.payments.personal import erase_data
from workers.payments.subscriptions import (
    advance_subscription,
    advance_subscriptions,
    cancel_subscription,
    start_subscription,
)
from workers.payments.sync import apply_snapshot, sync_attempt

MONTH = timedelta(days=31)


class Clock:
    def __init__(self) -> None:
        self.at = now()

    def __call__(self) -> datetime:
        return self.at

    def advance(self, **time: float) -> None:
        self.at += timedelta(**time)


@pytest.fixture
def time(monkeypatch) -> Clock:
    moved = Clock()
    monkeypatch.setattr(clock, "now", moved)
    return moved


@pytest.fixture
def shop(kassa_shop, time) -> Shop:
    return kassa_shop


@pytest.fixture(params=["stripe", "yookassa"])
def provider(request) -> str:
    return request.param


@pytest.fixture
def make_plan(session):
    def make(**fields) -> Plan:
        course_ids = [str(make_offer(session)) for _ in range(2)]
        wanted = {"name": "All of baking", "amount_minor": 99000, "currency": "RUB", "interval": "month"}
        plan = Plan.make(at=now(), **wanted | {"trial_days": 0, "course_ids": course_ids} | fields)
        session.add(plan)
        session.flush()
        return plan

    return make


@pytest.fixture
def plan(make_plan) -> Plan:
    return make_plan()


@pytest.fixture
def subscription(shop, plan, provider) -> Subscription:
    """One that was paid for on a page."""
    return subscribed(shop, plan, provider)


def subscribed(shop: Shop, plan: Plan, provider: str) -> Subscription:
    checkout = shop.checkout(plan_id=plan.id, provider=provider)
    shop.pay(checkout)
    shop.come_back(checkout)
    return the_one(shop)


def the_one(shop: Shop) -> Subscription:
    shop.session.flush()
    [subscription] = shop.session.scalars(select(Subscription).where(Subscription.user_id == shop.buyer))
    return subscription


def start(shop: Shop, plan: Plan, provider: str) -> dict:
    wish = {"user_id": shop.buyer, "plan_id": plan.id, "provider": provider, "receipt_email": "ann@example.com"}
    return start_subscription(shop.sessions, shop.providers, **wish)


def run(shop: Shop) -> None:
    """What the job starts."""
    shop.session.flush()
    shop.poked.clear()
    advance_subscriptions(shop.session, shop.poke)
    for _task, message in shop.poked:
        advance_subscription(shop.sessions, shop.providers, **message)
    shop.session.flush()


def news(shop: Shop, subscription: Subscription) -> list[str]:
    return [type_.removeprefix("SUBSCRIPTION_") for type_ in told(shop.session, subscription.id)]


def announced_end(shop: Shop, subscription: Subscription) -> datetime:
    return datetime.fromisoformat(last_past_due(shop, subscription)["ends_at"])


def last_past_due(shop: Shop, subscription: Subscription) -> dict:
    """The payload of the last SUBSCRIPTION_PAST_DUE."""
    shop.session.flush()
    past_due = (OutboxEvent.aggregateid == str(subscription.id)) & (OutboxEvent.type == "SUBSCRIPTION_PAST_DUE")
    [*_, payload] = shop.session.scalars(
        select(OutboxEvent.payload).where(past_due).order_by(OutboxEvent.aggregate_version)
    )
    return payload


def orders(shop: Shop) -> list[Order]:
    """The buyer's, with their attempts."""
    return Order.all_of(shop.session, shop.buyer)


def charged(shop: Shop) -> list[str]:
    """What the providers have taken for all orders of the buyer."""
    at_both = [*shop.standin.get("/__state")["payments"], *shop.kassa.get("/__state")["payments"]]
    theirs = {str(order.id) for order in orders(shop)}
    return [payment["status"] for payment in at_both if payment["order_id"] in theirs]


def decline(shop: Shop, reason: str | None = "insufficient_funds") -> None:
    """Let the card that was saved at YooKassa decline from now on; None: no more."""
    [method] = shop.session.scalars(select(SavedMethod).where(SavedMethod.user_id == shop.buyer))
    shop.kassa.post(f"/__methods/{method.method_id}", declines=reason)


# Begun.


def test_a_paid_page_begins_a_subscription_and_saves_the_card(shop, subscription, time, provider):
    assert (subscription.status, subscription.period_start) == ("active", time.at)
    assert subscription.period_end == after_periods(time.at, "month", 1)
    assert news(shop, subscription) == ["STARTED"]
    [method] = shop.session.scalars(select(SavedMethod).where(SavedMethod.user_id == shop.buyer))
    assert (method.provider, bool(method.customer_id)) == (provider, provider == "stripe")
    [order] = orders(shop)
    assert told(shop.session, order.id) == ["PAYMENT_SUCCEEDED"]


def test_a_page_that_nobody_pays_begins_nothing(shop, plan, provider, time):
    checkout = shop.checkout(plan_id=plan.id, provider=provider)
    assert shop.checkout(plan_id=plan.id, provider=provider) == checkout
    assert the_one(shop).status == "incomplete"
    shop.apply(checkout, status="expired", page_open=False)
    time.advance(days=1)
    run(shop)
    assert (the_one(shop).status, news(shop, the_one(shop))) == ("expired", [])


def test_one_is_subscribed_once(shop, plan, subscription, provider):
    with pytest.raises(AlreadySubscribed):
        shop.checkout(plan_id=plan.id, provider=provider)
    with pytest.raises(AlreadySubscribed):
        start(shop, plan, provider)


def test_a_saved_card_begins_another_subscription_without_a_page(shop, make_plan, subscription, provider):
    begun = start(shop, make_plan(), provider)
    assert (begun["status"], charged(shop)) == ("active", ["succeeded"] * 2)


def test_without_a_saved_card_there_is_only_the_page(shop, plan, provider):
    with pytest.raises(PaymentMethodMissing):
        start(shop, plan, provider)


def test_a_card_that_declines_begins_nothing(shop, make_plan, plan):
    subscribed(shop, plan, "yookassa")
    decline(shop)
    with pytest.raises(PaymentRefused, match="insufficient_funds"):
        start(shop, make_plan(), "yookassa")
    assert charged(shop) == ["succeeded"]


def test_a_plan_that_is_not_on_sale_is_not_found(shop, make_plan, plan):
    plan.on_sale = False
    with pytest.raises(NotFound):
        shop.checkout(plan_id=plan.id)


# Renewed.


def test_each_period_is_charged_once_however_often_the_job_runs(shop, subscription, time):
    first_end = subscription.period_end
    run(shop)
    assert news(shop, subscription) == ["STARTED"]
    time.at = first_end
    for _ in range(3):
        run(shop)
    assert (subscription.period_start, subscription.status) == (first_end, "active")
    time.at = subscription.period_end
    run(shop)
    assert news(shop, subscription) == ["STARTED", "RENEWED", "RENEWED"]
    assert charged(shop) == ["succeeded"] * 3
    assert len({order.period_start for order in orders(shop)}) == 3


@pytest.mark.parametrize("age_hours", [0, 24], ids=["by its key", "in the lists"])
def test_a_lost_answer_charges_nobody_twice(shop, subscription, provider, time, age_hours):
    time.at = subscription.period_end
    standin = shop.kassa if provider == "yookassa" else shop.standin
    standin.faults(drop_response_after_commit=1 if provider == "yookassa" else 3)  # Stripe's SDK asks three times
    with pytest.raises(ProviderOutcomeUnknown):
        run(shop)
    run(shop)
    assert subscription.status == "active"  # it waits for the job that asks the provider
    [attempt] = [each for order in orders(shop) for each in order.attempts if each.status == "unknown"]
    attempt.created_at -= timedelta(hours=age_hours)
    sync_attempt(shop.sessions, shop.providers, attempt_id=attempt.id)
    assert (news(shop, subscription), charged(shop)) == (["STARTED", "RENEWED"], ["succeeded"] * 2)


def test_new_terms_of_a_plan_are_not_those_of_its_subscribers(shop, plan, subscription, time):
    plan.amount_minor = 199000
    time.at = subscription.period_end
    run(shop)
    assert {order.amount_minor for order in orders(shop)} == {99000}


def test_months_are_counted_from_the_day_on_which_it_began():
    begun = datetime(2024, 1, 31, 12, tzinfo=UTC)
    assert [after_periods(begun, "month", n).date().isoformat() for n in (1, 2, 13)] == [
        "2024-02-29",
        "2024-03-31",
        "2025-02-28",
    ]
    assert after_periods(begun, "year", 1).year == 2025


# Past due.


def test_declined_card_is_tried_again_after_2_5_7_and_6_days_until_the_announced_end(shop, plan, time):
    subscription = subscribed(shop, plan, "yookassa")
    decline(shop)
    time.at = subscription.period_end
    for pause in (timedelta(), *DUNNING):
        time.at += pause - timedelta(minutes=1)
        before = tries(shop)
        run(shop)
        assert tries(shop) == before
        time.advance(minutes=1)
        run(shop)
        assert tries(shop) == before + 1
    time.at = announced_end(shop, subscription) - timedelta(minutes=1)
    run(shop)
    assert subscription.status == "past_due"
    time.advance(minutes=1)
    run(shop)
    assert (subscription.status, subscription.problem, tries(shop)) == ("expired", "unpaid", 5)
    assert news(shop, subscription) == ["STARTED", "PAST_DUE", "EXPIRED"]
    assert [order.status for order in orders(shop)] == ["paid", "expired"]


def tries(shop: Shop) -> int:
    return sum(attempt.method_id is not None for order in orders(shop) for attempt in order.attempts)


def test_a_card_that_pays_in_the_end_keeps_the_subscription_and_its_days(shop, plan, time):
    subscription = subscribed(shop, plan, "yookassa")
    time.at = first_end = subscription.period_end
    decline(shop)
    run(shop)
    decline(shop, None)
    time.advance(days=2)
    run(shop)
    assert (subscription.status, subscription.period_start, subscription.failed_charges) == ("active", first_end, 0)
    assert news(shop, subscription) == ["STARTED", "PAST_DUE", "RENEWED"]


def test_a_hard_decline_is_not_tried_again_and_another_card_may_pay(shop, plan, time):
    subscription = subscribed(shop, plan, "yookassa")
    time.at = subscription.period_end
    decline(shop, "permission_revoked")
    run(shop)
    time.advance(days=20)
    run(shop)
    assert (tries(shop), subscription.status) == (1, "past_due")
    checkout = shop.checkout(plan_id=plan.id, provider="yookassa")
    shop.pay(checkout)
    shop.come_back(checkout)
    assert (subscription.status, news(shop, subscription)) == ("active", ["STARTED", "PAST_DUE", "RENEWED"])


def test_after_a_hard_decline_it_is_over_when_nobody_has_paid(shop, plan, time):
    subscription = subscribed(shop, plan, "yookassa")
    time.at = subscription.period_end
    decline(shop, "permission_revoked")
    run(shop)
    time.advance(days=21)
    run(shop)
    assert (subscription.status, tries(shop)) == ("expired", 1)


def test_stripes_declines_are_understood(shop, make_plan, plan):
    subscribed(shop, plan, "stripe")
    [method] = shop.session.scalars(select(SavedMethod).where(SavedMethod.user_id == shop.buyer))
    client = shop.providers["stripe"]._client.v1  # noqa: SLF001 the card of another kind, as only a test has one
    card = client.payment_methods.create({"type": "card", "card": {"token": "tok_chargeCustomerFail"}})
    method.method_id = client.payment_methods.attach(card.id, {"customer": method.customer_id}).id
    with pytest.raises(PaymentRefused, match="generic_decline"):
        start(shop, make_plan(), "stripe")
    method.method_id = "pm_gone"
    with pytest.raises(PaymentRefused, match="resource_missing"):
        start(shop, make_plan(), "stripe")


# Trials.


@pytest.fixture
def trial(shop, make_plan, provider) -> Subscription:
    start(shop, make_plan(trial_days=14), provider)
    return the_one(shop)


def test_a_trial_asks_for_no_money_and_tells_before_it_ends(shop, trial, time):
    assert (trial.status, trial.period_end, orders(shop)) == ("trialing", time.at + timedelta(days=14), [])
    time.advance(days=11)
    for _ in range(2):
        run(shop)
    assert news(shop, trial) == ["STARTED", "TRIAL_ENDING"]
    time.advance(days=3)
    run(shop)
    assert (trial.status, trial.problem, news(shop, trial)[-1]) == ("expired", "trial_ended", "EXPIRED")


def test_a_trial_whose_buyer_has_paid_on_a_page_goes_on_when_it_ends(shop, trial, provider, time):
    trial_end = trial.period_end
    checkout = shop.checkout(plan_id=trial.plan_id, provider=provider)
    shop.pay(checkout)
    shop.come_back(checkout)
    assert (trial.status, trial.period_start) == ("active", trial_end)
    assert trial.period_end == after_periods(trial_end, "month", 1)
    time.at = trial.period_end
    run(shop)
    assert (trial.period_end, charged(shop)) == (after_periods(trial_end, "month", 2), ["succeeded"] * 2)


def test_a_trial_with_a_saved_card_is_charged_when_it_ends(shop, make_plan, plan, provider, time):
    subscribed(shop, plan, provider)
    begun = start(shop, make_plan(trial_days=7), provider)
    assert begun["status"] == "trialing"
    time.advance(days=7)
    run(shop)
    assert shop.session.get_one(Subscription, begun["id"]).status == "active"
    assert charged(shop) == ["succeeded"] * 2


def test_one_has_one_trial_of_a_plan(shop, trial, provider, time):
    time.advance(days=14)
    run(shop)
    with pytest.raises(PaymentMethodMissing):
        start(shop, shop.session.get_one(Plan, trial.plan_id), provider)


def test_a_checkout_of_a_plan_with_a_trial_needs_no_page(shop, make_plan, provider):
    checkout = shop.checkout(plan_id=make_plan(trial_days=14).id, provider=provider)
    assert (checkout["status"], checkout["amount_minor"], checkout["redirect_url"]) == ("succeeded", 0, None)


# Given up.


def test_notice_is_given_once_and_the_paid_period_stays(shop, subscription, time):
    for _ in range(2):
        shown = cancel_subscription(shop.session, subscription_id=subscription.id, user_id=shop.buyer)
    assert (shown["status"], shown["cancel_at_period_end"]) == ("active", True)
    time.at = subscription.period_end
    run(shop)
    assert (subscription.status, charged(shop)) == ("canceled", ["succeeded"])
    assert news(shop, subscription) == ["STARTED", "CANCELED", "EXPIRED"]
    with pytest.raises(SubscriptionEnded):
        cancel_subscription(shop.session, subscription_id=subscription.id, user_id=shop.buyer)
    with pytest.raises(NotFound):
        cancel_subscription(shop.session, subscription_id=subscription.id, user_id=subscription.id)


def test_who_has_gone_is_charged_no_more(shop, subscription, time):
    erase_data(shop.session, event=some(UserDeleted, user_id=shop.buyer))
    assert (subscription.status, subscription.problem, subscription.receipt_email) == (
        "expired",
        "account_erased",
        None,
    )
    assert shop.session.scalars(select(SavedMethod).where(SavedMethod.user_id == shop.buyer)).all() == []
    time.at = subscription.period_end
    run(shop)
    assert charged(shop) == ["succeeded"]


def test_money_for_a_subscription_that_is_over_goes_back(shop, plan, time):
    subscription = subscribed(shop, plan, "yookassa")
    late = shop.session.scalars(select(Attempt).join(Order).where(Order.user_id == shop.buyer)).one()
    order = Order.for_period(
        shop.session, user_id=shop.buyer, subscription_id=subscription.id, period=subscription.next_period(), at=now()
    )
    attempt = order.begin(subscription, late.terms, open_for=MONTH, at=now())
    shop.session.flush()
    subscription.end(at=time.at)
    apply_snapshot(shop.session, attempt, paid(attempt, payment_id="late"))
    [refund] = Refund.of_order(shop.session, order.id)
    assert (refund.amount_minor, subscription.status) == (99000, "expired")
