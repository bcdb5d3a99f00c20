"""The state of an attempt is only fetched from the provider and account with which it was created."""

from dataclasses import replace

import pytest
from sqlalchemy import select

from models.errors import CheckoutOutcomeUnknown, PaymentInProgress, PaymentRefused, ProviderUnavailable
from models.payments import Order, Orders, PaymentAttempt, Subscription
from tests.integration.payments.harness import make_offer, make_snapshot, make_stripe, make_yookassa
from tests.integration.payments.subscription_steps import charge_statuses, run, start, subscribe
from workers.payments.payment_flow import PaymentFlow
from workers.payments.payment_sync import sync_attempt
from workers.payments.provider import provider_of

pytestmark = pytest.mark.usefixtures("harness_with_yookassa", "time")


def attempts_of(harness, plan) -> list[PaymentAttempt]:
    """Return the buyer's attempts to pay for a plan, the oldest first."""
    harness.session.flush()
    attempts = select(PaymentAttempt).join(Order).join(Subscription, Subscription.id == Order.subscription_id)
    statement = attempts.where(Subscription.user_id == harness.buyer, Subscription.plan_id == plan.id)
    return list(
        harness.session.scalars(statement.order_by(PaymentAttempt.created_at).execution_options(populate_existing=True))
    )


@pytest.fixture
def saved_methods_at_both_providers(harness_with_yookassa, make_plan):
    """A buyer with a saved method at each provider. Receipts are off, so YooKassa accepts every request."""
    harness = harness_with_yookassa
    harness.providers = {
        **harness.providers,
        "yookassa": make_yookassa(f"{harness.fake_yookassa.url}/v3", vat_code=None),
    }
    for provider in ("stripe", "yookassa"):
        checkout = harness.checkout(plan_id=make_plan(name=provider).id, provider=provider)
        harness.pay(checkout)
        harness.return_from_checkout(checkout)


@pytest.mark.usefixtures("saved_methods_at_both_providers")
@pytest.mark.parametrize(("lost", "other"), [("stripe", "yookassa"), ("yookassa", "stripe")])
def test_unknown_charge_is_not_repeated_at_other_provider(harness, make_plan, lost, other):
    plan = make_plan()
    answers = 3 if lost == "stripe" else 1  # Stripe's SDK retries a call twice
    {"stripe": harness.fake_stripe, "yookassa": harness.fake_yookassa}[lost].faults(drop_response_after_commit=answers)
    with pytest.raises(CheckoutOutcomeUnknown):
        start(harness, plan, lost)

    for _ in range(2):
        with pytest.raises(PaymentInProgress):
            start(harness, plan, other)

    [attempt] = attempts_of(harness, plan)
    assert (attempt.provider, attempt.status, attempt.next_sync_at is not None) == (lost, "unknown", True)
    sync_attempt(harness.transactions, harness.providers, attempt_id=attempt.id)
    assert (attempt.status, charge_statuses(harness)) == ("succeeded", ["succeeded"] * 3)


def test_unknown_session_blocks_charge_at_other_provider(harness, make_plan):
    subscribe(harness, make_plan(), "stripe")
    plan = make_plan()
    harness.fake_yookassa.faults(drop_response_after_commit=1)
    with pytest.raises(CheckoutOutcomeUnknown):
        harness.checkout(plan_id=plan.id, provider="yookassa")

    with pytest.raises(PaymentInProgress):
        start(harness, plan, "stripe")

    [attempt] = attempts_of(harness, plan)
    assert (attempt.provider, attempt.status) == ("yookassa", "unknown")
    page = harness.checkout(plan_id=plan.id, provider="yookassa")
    assert page["id"] == attempt.id


def test_saved_card_is_not_charged_while_session_is_open(harness, make_plan):
    subscribe(harness, make_plan(), "stripe")
    plan = make_plan()
    harness.checkout(plan_id=plan.id, provider="stripe")

    with pytest.raises(PaymentInProgress):
        start(harness, plan, "stripe")

    assert [attempt.status for attempt in attempts_of(harness, plan)] == ["requires_action"]


def test_provider_is_found_by_name_and_account(harness):
    attempt = harness.attempt(harness.checkout(make_offer(harness.session)))
    assert provider_of(harness.providers, attempt) is harness.providers["stripe"]

    for providers in ({}, {"stripe": make_stripe(harness.fake_stripe.url, account="another")}):
        # The text is also read after refunds and deletions, so it must not say what was charged.
        with pytest.raises(ProviderUnavailable, match=r"^stripe is unavailable; the request was not executed"):
            sync_attempt(harness.transactions, providers, attempt_id=attempt.id)

    assert attempt.status == "requires_action"


def test_metadata_does_not_match_attempt_of_other_provider(harness):
    attempt = harness.attempt(harness.checkout(make_offer(harness.session)))
    foreign = replace(
        make_snapshot(attempt), checkout_session_id="foreign", account=harness.providers["yookassa"].account
    )

    assert PaymentAttempt.find_by_provider_object(harness.session, "yookassa", foreign) is None
    assert (
        PaymentAttempt.find_by_provider_object(harness.session, "stripe", replace(foreign, account=attempt.account))
        is attempt
    )


class RefusingProvider:
    """A provider that refuses every charge."""

    def __init__(self, provider) -> None:
        self._provider = provider

    def __getattr__(self, name):
        return getattr(self._provider, name)

    def open_checkout_session(self, _request):
        raise PaymentRefused("invalid_request")


def test_refusal_seen_by_two_callers_counts_once(harness, make_plan, time):
    subscription = subscribe(harness, make_plan(), "stripe")
    harness.providers = {**harness.providers, "stripe": RefusingProvider(harness.providers["stripe"])}
    time.at = subscription.period_end
    run(harness)
    next_step_at = subscription.next_step_at
    [order] = (
        order for order in Orders(harness.session).list_for_user_for_update(harness.buyer) if order.status == "pending"
    )
    [attempt] = order.attempts
    harness.session.expunge(attempt)
    attempt.status = "created"  # as the second caller has read it

    with pytest.raises(PaymentRefused):
        PaymentFlow(harness.transactions, harness.providers).refresh(attempt, order)

    assert (subscription.failed_charges, subscription.next_step_at) == (1, next_step_at)
