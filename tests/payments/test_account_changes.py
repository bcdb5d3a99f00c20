"""After a change of the provider's account, what belongs to the earlier account waits; it is not lost."""

import pytest

from models.base import now
from models.errors import ProviderUnavailable
from tests.payments.shop import Shop, make_offer, make_stripe
from tests.payments.test_webhooks import signed
from workers.payments.webhooks import apply_provider_event


@pytest.fixture
def checkout(shop, session):
    """A checkout that is paid at the earlier account, and whose webhook is not applied yet."""
    checkout = shop.checkout(make_offer(session))
    shop.pay(checkout)
    return checkout


@pytest.fixture
def earlier(shop):
    """The providers before the change."""
    return shop.providers


def completed(shop: Shop, checkout) -> dict:
    return shop.webhook(shop.attempt(checkout).page_id, "checkout.session.completed")


class Empty:
    """The provider with another account, at which no object of the earlier account exists."""

    account = "another"
    name = "Stripe"

    def __init__(self, provider) -> None:
        self._provider = provider

    def __getattr__(self, name):
        return getattr(self._provider, name)

    def fetch(self, _object_id):
        return None


def change_account(shop: Shop) -> None:
    stripe = make_stripe(shop.standin.url, account="another")
    shop.providers = {**shop.providers, "stripe": Empty(stripe)}


def test_event_received_before_a_change_of_accounts_waits_for_its_account(shop, checkout, earlier):
    shop.receive(completed(shop, checkout))
    change_account(shop)
    [event] = shop.provider_events()

    for providers in (shop.providers, {}):
        with pytest.raises(ProviderUnavailable):
            apply_provider_event(shop.sessions, providers, provider_event_id=event.id)

    assert (event.status, event.crashes) == ("received", 0)
    apply_provider_event(shop.sessions, earlier, provider_event_id=event.id)
    assert (event.status, shop.order(checkout).status) == ("applied", "paid")


@pytest.mark.parametrize("kind", ["checkout.session.completed", "refund.created"])
def test_event_of_the_earlier_account_received_after_the_change_is_not_ignored(shop, session, kind):
    checkout = shop.bought(make_offer(session))
    attempt, earlier = shop.attempt(checkout), shop.providers
    page = {"id": attempt.page_id}
    refund = {"id": "re_1", "payment_intent": attempt.payment_id}
    change_account(shop)
    shop.receive(signed(type=kind, data={"object": page if kind.startswith("checkout") else refund}))
    [event] = shop.provider_events()

    with pytest.raises(ProviderUnavailable):
        apply_provider_event(shop.sessions, shop.providers, provider_event_id=event.id)

    assert (event.account, event.status, event.crashes) == ("another", "received", 0)
    apply_provider_event(shop.sessions, earlier, provider_event_id=event.id)
    assert event.status == "applied"


def test_ignored_event_that_is_resent_is_applied(shop, session, checkout):
    message = completed(shop, checkout)
    shop.receive(message)
    [event] = shop.provider_events()
    event.finish("ignored", at=now())
    session.flush()
    shop.poked.clear()

    shop.receive(message)
    session.refresh(event)
    shop.do_as_poked()

    assert (event.status, shop.order(checkout).status) == ("applied", "paid")
