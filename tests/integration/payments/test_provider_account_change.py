"""After a change of the provider's account, objects of the previous account wait and are not lost."""

import pytest

from core.db import utc_now
from models.errors import ProviderUnavailable
from tests.integration.payments.harness import PaymentsHarness, make_offer, make_stripe
from tests.integration.payments.test_webhooks import signed
from workers.payments.webhooks import apply_provider_event


@pytest.fixture
def checkout(harness, session):
    """A checkout that was paid at the previous account and whose webhook is not applied yet."""
    checkout = harness.checkout(make_offer(session))
    harness.pay(checkout)
    return checkout


@pytest.fixture
def previous_providers(harness):
    """The providers before the change."""
    return harness.providers


def completed_session_webhook(harness: PaymentsHarness, checkout) -> dict:
    return harness.webhook(harness.attempt(checkout).checkout_session_id, "checkout.session.completed")


class EmptyProvider:
    """A provider with another account, which has no object of the previous account."""

    account = "another"
    name = "Stripe"

    def __init__(self, provider) -> None:
        self._provider = provider

    def __getattr__(self, name):
        return getattr(self._provider, name)

    def fetch(self, _object_id):
        return None


def change_account(harness: PaymentsHarness) -> None:
    stripe = make_stripe(harness.fake_stripe.url, account="another")
    harness.providers = {**harness.providers, "stripe": EmptyProvider(stripe)}


def test_event_before_account_change_waits_for_old_account(harness, checkout, previous_providers):
    harness.receive(completed_session_webhook(harness, checkout))
    change_account(harness)
    [event] = harness.provider_events()

    for providers in (harness.providers, {}):
        with pytest.raises(ProviderUnavailable):
            apply_provider_event(harness.transactions, providers, provider_event_id=event.id)

    assert (event.status, event.crashes) == ("received", 0)
    apply_provider_event(harness.transactions, previous_providers, provider_event_id=event.id)
    assert (event.status, harness.order(checkout).status) == ("applied", "paid")


@pytest.mark.parametrize("kind", ["checkout.session.completed", "refund.created"])
def test_old_account_event_after_change_is_not_ignored(harness, session, kind):
    checkout = harness.buy(make_offer(session))
    attempt, previous_providers = harness.attempt(checkout), harness.providers
    page = {"id": attempt.checkout_session_id}
    refund = {"id": "re_1", "payment_intent": attempt.payment_id}
    change_account(harness)
    harness.receive(signed(type=kind, data={"object": page if kind.startswith("checkout") else refund}))
    [event] = harness.provider_events()

    with pytest.raises(ProviderUnavailable):
        apply_provider_event(harness.transactions, harness.providers, provider_event_id=event.id)

    assert (event.account, event.status, event.crashes) == ("another", "received", 0)
    apply_provider_event(harness.transactions, previous_providers, provider_event_id=event.id)
    assert event.status == "applied"


def test_resent_ignored_event_is_applied(harness, session, checkout):
    message = completed_session_webhook(harness, checkout)
    harness.receive(message)
    [event] = harness.provider_events()
    event.finish("ignored", at=utc_now())
    session.flush()
    harness.enqueued.clear()

    harness.receive(message)
    session.refresh(event)
    harness.run_enqueued()

    assert (event.status, harness.order(checkout).status) == ("applied", "paid")
