"""Money that came twice or too late is owed to its buyer, and tried until it is returned."""

from datetime import timedelta
from uuid import uuid4

import pytest

from models.base import now
from models.errors import PaymentNotOfOrder, PaymentRefused
from models.payments import Attempt, Refund
from models.payments.ledger import imbalances
from tests.payments.shop import Shop, make_offer
from workers.payments.facts import owed_to_buyers, owed_to_buyers_seconds
from workers.payments.refunds import sync_refund, sync_refunds
from workers.payments.sync import sync_attempt


class Refusing:
    """The provider while its account has no money for refunds."""

    def __init__(self, provider) -> None:
        self._provider = provider

    def __getattr__(self, name: str):
        return getattr(self._provider, name)

    def refund(self, _request):
        raise PaymentRefused("balance_insufficient")


@pytest.fixture
def paid_twice(shop, session) -> Attempt:
    """The second payment of an order, made on a real page."""
    checkout = shop.bought(make_offer(session))
    order = shop.order(checkout)
    second = Attempt.begin(order.attempt(checkout["id"]).terms, open_for=timedelta(hours=23), at=now())
    order.attempts.append(second)
    session.flush()
    sync_attempt(shop.sessions, shop.providers, attempt_id=second.id)
    shop.standin.pay(second.page_id, "succeed")
    sync_attempt(shop.sessions, shop.providers, attempt_id=second.id)
    return second


def refunds_of(shop: Shop, attempt: Attempt) -> list[Refund]:
    return [each for each in Refund.of_order(shop.session, attempt.order_id) if each.attempt_id == attempt.id]


def sync(shop: Shop, refund: Refund, *, refused: bool = False) -> None:
    providers = {"stripe": Refusing(shop.providers["stripe"])} if refused else shop.providers
    sync_refund(shop.sessions, providers, refund_id=refund.id)
    shop.session.flush()


def test_refused_refund_of_owed_money_is_retried_until_it_is_returned(shop, session, paid_twice):
    [first] = refunds_of(shop, paid_twice)
    sync(shop, first, refused=True)
    assert (first.status, first.problem) == ("failed", "balance_insufficient")
    assert timedelta(minutes=59) < first.next_sync_at - now() <= timedelta(hours=1)

    sync(shop, first, refused=True)
    [_, second] = refunds_of(shop, paid_twice)
    sync(shop, second)
    [_, _, third] = refunds_of(shop, paid_twice)

    assert [each.status for each in (first, second, third)] == ["failed", "failed", "succeeded"]
    assert [each.next_sync_at for each in (first, second, third)] == [None] * 3
    assert third.owed_since == first.owed_since
    assert shop.given_back({"id": paid_twice.id}) == [4900]
    assert list(imbalances(session)) == []


def test_retries_of_owed_money_come_less_often_and_never_end(shop, paid_twice):
    [refund] = refunds_of(shop, paid_twice)
    refund.owed_since = now() - timedelta(days=30)

    sync(shop, refund, refused=True)

    assert timedelta(hours=11) < refund.next_sync_at - now() <= timedelta(hours=12)


def test_concurrent_retries_of_one_refund_make_one_new_refund(shop, paid_twice):
    [refund] = refunds_of(shop, paid_twice)
    sync(shop, refund, refused=True)

    for _ in range(2):
        sync(shop, refund)

    assert [each.status for each in refunds_of(shop, paid_twice)] == ["failed", "succeeded"]


def test_job_retries_owed_money_when_its_time_has_come(shop, session, paid_twice):
    [refund] = refunds_of(shop, paid_twice)
    sync(shop, refund, refused=True)
    refund.next_sync_at = now()
    session.flush()

    sync_refunds(session, shop.poke)

    assert ("payments.sync_refund", {"refund_id": refund.id}) in shop.poked


def test_refused_refund_that_staff_asked_for_is_not_retried(shop, session):
    checkout = shop.bought(make_offer(session))
    with pytest.raises(PaymentRefused):
        shop.refund(checkout, providers={"stripe": Refusing(shop.providers["stripe"])})

    [refund] = Refund.of_order(session, checkout["order_id"])
    assert (refund.status, refund.next_sync_at) == ("failed", None)


def test_staff_refund_any_payment_of_an_order(shop, session, paid_twice):
    [owed] = refunds_of(shop, paid_twice)
    sync(shop, owed, refused=True)

    refund = shop.refund({"order_id": paid_twice.order_id}, payment_id=paid_twice.id)
    sync(shop, owed)

    assert (refund["payment_id"], refund["status"], refund["amount_minor"]) == (paid_twice.id, "succeeded", 4900)
    assert len(refunds_of(shop, paid_twice)) == 2  # nothing is owed any more: the retry makes no third one
    assert shop.order({"order_id": paid_twice.order_id}).status == "paid"


def test_payment_of_another_order_is_refused(shop, session, paid_twice):
    other = shop.bought(make_offer(session))

    for payment_id in (paid_twice.id, uuid4()):
        with pytest.raises(PaymentNotOfOrder):
            shop.refund(other, payment_id=payment_id)


def test_owed_money_and_its_age_are_measured(shop, session, paid_twice):
    before = dict(owed_to_buyers(session).all())["USD"]
    [refund] = refunds_of(shop, paid_twice)
    sync(shop, refund, refused=True)
    refund.owed_since = now() - timedelta(days=400)
    session.flush()
    assert dict(owed_to_buyers(session).all())["USD"] == before
    assert owed_to_buyers_seconds(session).scalar_one() >= 399 * 86400

    sync(shop, refund)

    assert dict(owed_to_buyers(session).all()).get("USD", 0) == before - 4900
