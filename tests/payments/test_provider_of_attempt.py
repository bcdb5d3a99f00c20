"""An attempt is asked of the provider and account at which it was made, and of no other one."""
# ruff: noqa: F811
# The fixtures are those of test_subscriptions.

from dataclasses import replace

import pytest
from sqlalchemy import select

from models.errors import CheckoutOutcomeUnknown, PaymentInProgress, PaymentRefused, ProviderUnavailable
from models.payments import Attempt, Order, Subscription
from tests.payments.shop import make_offer, make_stripe, make_yookassa, snapshot_of
from tests.payments.test_subscriptions import (  # noqa: F401 fixtures
    charged,
    make_plan,
    run,
    shop,
    start,
    subscribed,
    time,
)
from workers.payments.provider import provider_of
from workers.payments.sync import look_at_page, sync_attempt


def attempts_of(shop, plan) -> list[Attempt]:
    """The buyer's attempts to pay for a plan, the oldest first."""
    shop.session.flush()
    theirs = select(Attempt).join(Order).join(Subscription, Subscription.id == Order.subscription_id)
    mine = theirs.where(Subscription.user_id == shop.buyer, Subscription.plan_id == plan.id)
    return list(shop.session.scalars(mine.order_by(Attempt.created_at).execution_options(populate_existing=True)))


@pytest.fixture
def saved_at_both(shop, make_plan):
    """A buyer who has a saved method at each provider, and receipts are off, so that YooKassa takes any request."""
    shop.providers = {**shop.providers, "yookassa": make_yookassa(f"{shop.kassa.url}/v3", vat_code=None)}
    for provider in ("stripe", "yookassa"):
        checkout = shop.checkout(plan_id=make_plan(name=provider).id, provider=provider)
        shop.pay(checkout)
        shop.come_back(checkout)


@pytest.mark.usefixtures("saved_at_both")
@pytest.mark.parametrize(("lost", "other"), [("stripe", "yookassa"), ("yookassa", "stripe")])
def test_charge_of_unknown_outcome_is_not_repeated_at_the_other_provider(shop, make_plan, lost, other):
    plan = make_plan()
    answers = 3 if lost == "stripe" else 1  # Stripe's SDK repeats a call twice
    {"stripe": shop.standin, "yookassa": shop.kassa}[lost].faults(drop_response_after_commit=answers)
    with pytest.raises(CheckoutOutcomeUnknown):
        start(shop, plan, lost)

    for _ in range(2):
        with pytest.raises(PaymentInProgress):
            start(shop, plan, other)

    [attempt] = attempts_of(shop, plan)
    assert (attempt.provider, attempt.status, attempt.next_sync_at is not None) == (lost, "unknown", True)
    sync_attempt(shop.sessions, shop.providers, attempt_id=attempt.id)
    assert (attempt.status, charged(shop)) == ("succeeded", ["succeeded"] * 3)


def test_page_of_unknown_outcome_is_not_opened_at_the_other_provider(shop, make_plan):
    subscribed(shop, make_plan(), "stripe")
    plan = make_plan()
    shop.kassa.faults(drop_response_after_commit=1)
    with pytest.raises(CheckoutOutcomeUnknown):
        shop.checkout(plan_id=plan.id, provider="yookassa")

    with pytest.raises(PaymentInProgress):
        start(shop, plan, "stripe")

    [attempt] = attempts_of(shop, plan)
    assert (attempt.provider, attempt.status) == ("yookassa", "unknown")
    page = shop.checkout(plan_id=plan.id, provider="yookassa")
    assert page["id"] == attempt.id


def test_saved_card_is_not_charged_while_a_page_is_open(shop, make_plan):
    subscribed(shop, make_plan(), "stripe")
    plan = make_plan()
    shop.checkout(plan_id=plan.id, provider="stripe")

    with pytest.raises(PaymentInProgress):
        start(shop, plan, "stripe")

    assert [attempt.status for attempt in attempts_of(shop, plan)] == ["requires_action"]


def test_provider_is_found_by_name_and_account(shop):
    attempt = shop.attempt(shop.checkout(make_offer(shop.session)))
    assert provider_of(shop.providers, attempt) is shop.providers["stripe"]

    for providers in ({}, {"stripe": make_stripe(shop.standin.url, account="another")}):
        # The text is also read after refunds and deletions, so it must not say what was charged.
        with pytest.raises(ProviderUnavailable, match=r"^stripe is unavailable; it has not carried out the request"):
            sync_attempt(shop.sessions, providers, attempt_id=attempt.id)

    assert attempt.status == "requires_action"


def test_object_whose_metadata_names_an_attempt_of_another_provider_is_ignored(shop):
    attempt = shop.attempt(shop.checkout(make_offer(shop.session)))
    foreign = replace(snapshot_of(attempt), page_id="foreign", account=shop.providers["yookassa"].account)

    assert Attempt.named_by(shop.session, "yookassa", foreign) is None
    assert Attempt.named_by(shop.session, "stripe", replace(foreign, account=attempt.account)) is attempt


class Refusing:
    """A provider that refuses to charge."""

    def __init__(self, provider) -> None:
        self._provider = provider

    def __getattr__(self, name):
        return getattr(self._provider, name)

    def open_page(self, _request):
        raise PaymentRefused("invalid_request")


def test_refusal_seen_by_two_callers_counts_once(shop, make_plan, time):
    subscription = subscribed(shop, make_plan(), "stripe")
    shop.providers = {**shop.providers, "stripe": Refusing(shop.providers["stripe"])}
    time.at = subscription.period_end
    run(shop)
    next_step_at = subscription.next_step_at
    [order] = (order for order in Order.all_of(shop.session, shop.buyer) if order.status == "pending")
    [attempt] = order.attempts
    shop.session.expunge(attempt)
    attempt.status = "created"  # as the second caller has read it

    with pytest.raises(PaymentRefused):
        look_at_page(shop.sessions, shop.providers, attempt, order)

    assert (subscription.failed_charges, subscription.next_step_at) == (1, next_step_at)
