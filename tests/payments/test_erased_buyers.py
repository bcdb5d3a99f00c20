"""A buyer whose account is erased pays for nothing more: pages close, late money goes back, providers forget them."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from models.base import now
from models.errors import AccountErased, ProviderOutcomeUnknown
from models.events import UserDeleted
from models.payments import Order, ProviderErasure, Refund, SavedMethod
from models.payments.ledger import imbalances
from tests.payments.shop import Shop, make_offer
from tests.payments.test_subscriptions import make_plan, start, subscribed, time  # noqa: F401 fixtures
from tests.support.events import some
from workers.payments.facts import provider_erasures_seconds
from workers.payments.personal import erase_data, forget_customer, forget_customers
from workers.payments.refunds import sync_refund


@pytest.fixture
def shop(kassa_shop) -> Shop:
    return kassa_shop


def erase(shop: Shop) -> None:
    erase_data(shop.session, event=some(UserDeleted, user_id=shop.buyer))
    shop.session.flush()


def refund_of(shop: Shop, checkout) -> Refund:
    [refund] = Refund.of_order(shop.session, checkout["order_id"])
    sync_refund(shop.sessions, shop.providers, refund_id=refund.id)
    return refund


def erasures(shop: Shop, provider: str = "stripe") -> list[ProviderErasure]:
    shop.session.flush()
    return list(shop.session.scalars(select(ProviderErasure).where(ProviderErasure.provider == provider)))


def customers(shop: Shop) -> set[str]:
    """The customers whom Stripe knows."""
    client = shop.providers["stripe"]._client  # noqa: SLF001 the adapter has no need of such a list
    return {customer.id for customer in client.v1.customers.list({"limit": 100}).data}


def test_open_page_is_closed_and_its_addresses_are_cleared(shop, session):
    checkout = shop.checkout(make_offer(session))
    erase(shop)
    assert shop.attempt(checkout).next_sync_at is not None

    shop.sync(checkout)

    attempt = shop.attempt(checkout)
    assert shop.standin.pay(attempt.page_id, "succeed").status_code == 409
    assert (attempt.page_open, attempt.success_url, attempt.receipt_email) == (False, "", None)


def test_hold_of_an_erased_buyer_is_released(shop, session):
    course_id = make_offer(session, price_minor=199000, currency="RUB")
    checkout = shop.checkout(course_id, provider="yookassa")
    erase(shop)
    shop.sync(checkout)
    shop.pay(checkout)  # YooKassa's page cannot be closed

    shop.sync(checkout)

    assert shop.kassa.payments_of(str(checkout["order_id"])) == []
    assert shop.attempt(checkout).status == "canceled"


def test_money_that_arrives_for_an_erased_account_is_given_back(shop, session):
    checkout = shop.checkout(make_offer(session))
    shop.pay(checkout)
    erase(shop)

    shop.sync(checkout)
    refund = refund_of(shop, checkout)

    assert (shop.attempt(checkout).status, shop.order(checkout).status) == ("duplicate", "expired")
    assert (refund.status, refund.reason) == ("succeeded", "account erased")
    assert refund.owed_since
    assert shop.given_back(checkout) == [4900]
    assert "COURSE_PURCHASED" not in shop.told(checkout)
    assert list(imbalances(session)) == []


def test_page_that_was_not_opened_before_the_erasure_is_not_opened_after_it(shop, session):
    shop.standin.faults(error_500=3)
    course_id = make_offer(session)
    with pytest.raises(Exception, match="not answered"):
        shop.checkout(course_id)
    shop.standin.faults(error_500=0)
    [order] = session.scalars(select(Order).where(Order.user_id == shop.buyer))
    [attempt] = Order.locked(session, order.id).attempts
    pages = len(shop.pages())
    erase(shop)

    shop.sync({"id": attempt.id})

    assert attempt.status == "expired"
    assert len(shop.pages()) == pages


def test_card_of_a_page_that_is_paid_after_the_erasure_is_not_saved(shop, session, make_plan):  # noqa: F811 fixture
    checkout = shop.checkout(plan_id=make_plan().id)
    shop.pay(checkout)
    erase(shop)

    shop.sync(checkout)

    assert session.scalars(select(SavedMethod).where(SavedMethod.user_id == shop.buyer)).all() == []
    assert refund_of(shop, checkout).status == "succeeded"
    [erasure] = erasures(shop)
    assert erasure.customer_id in customers(shop)


def test_provider_deletes_the_customers_of_an_erased_buyer(shop, session, make_plan):  # noqa: F811 fixture
    subscribed(shop, make_plan(), "stripe")
    [method] = SavedMethod.all_of(session, shop.buyer)
    erase(shop)
    [erasure] = erasures(shop)
    assert erasure.customer_id == method.customer_id
    erasure.requested_at = now() - timedelta(days=400)
    session.flush()
    assert provider_erasures_seconds(session).scalar_one() >= 399 * 86400

    forget_customers(session, shop.poke)
    assert ("payments.forget_customer", {"erasure_id": erasure.id}) in shop.poked
    shop.standin.faults(error_500=3)
    with pytest.raises(ProviderOutcomeUnknown):
        forget_customer(shop.sessions, shop.providers, erasure_id=erasure.id)
    shop.standin.faults(error_500=0)
    for _ in range(2):
        forget_customer(shop.sessions, shop.providers, erasure_id=erasure.id)

    assert erasures(shop) == []
    assert provider_erasures_seconds(session).scalar_one() < 399 * 86400
    assert method.customer_id not in customers(shop)
    shop.providers["stripe"].forget_customer(method.customer_id)  # deleted already: no error


def test_erased_buyer_begins_no_checkout(shop, session, make_plan):  # noqa: F811 fixture
    erase(shop)

    with pytest.raises(AccountErased):
        shop.checkout(make_offer(session))
    with pytest.raises(AccountErased):
        start(shop, make_plan(), "stripe")
