"""What a buyer owns is not sold to them again, whichever order paid for it."""

from datetime import timedelta
from functools import partial
from uuid import uuid4

import pytest

from models.base import now, sessions
from models.errors import AlreadyPurchased
from models.payments import Attempt, Order, Plan, Refund
from tests.payments.shop import Shop, make_bundle, make_offer, paid
from tests.payments.test_races import Committing
from tests.support.waiting import at_once
from workers.payments.checkouts import start_checkout
from workers.payments.refunds import sync_refund
from workers.payments.subscriptions import start_subscription
from workers.payments.sync import apply_snapshot, sync_attempt


@pytest.fixture
def course_ids(session):
    return [make_offer(session) for _ in range(2)]


def test_bundle_whose_courses_are_all_owned_is_refused(shop, session, course_ids):
    for course_id in course_ids:
        shop.bought(course_id)

    with pytest.raises(AlreadyPurchased):
        shop.checkout(bundle_id=make_bundle(session, *course_ids))


def test_bundle_of_the_same_courses_as_an_owned_one_is_refused(shop, session, course_ids):
    shop.bought(bundle_id=make_bundle(session, *course_ids))

    with pytest.raises(AlreadyPurchased):
        shop.checkout(bundle_id=make_bundle(session, *reversed(course_ids)))


def test_bundle_that_is_owned_in_part_is_sold(shop, session, course_ids):
    shop.bought(course_ids[0])

    assert shop.checkout(bundle_id=make_bundle(session, *course_ids))["status"] == "requires_action"


def test_bundle_is_sold_again_after_a_refund(shop, session, course_ids):
    first, second = shop.bought(course_ids[0]), shop.bought(course_ids[1])
    shop.refund(first)
    shop.refund(second)

    assert shop.checkout(bundle_id=make_bundle(session, *course_ids))["status"] == "requires_action"


def test_plan_whose_courses_are_all_owned_is_refused(shop, session, course_ids):
    fields = {"name": "All", "amount_minor": 900, "currency": "USD", "interval": "month", "trial_days": 0}
    plan = Plan.make(at=now(), course_ids=[str(course_id) for course_id in course_ids], **fields)
    session.add(plan)
    session.flush()
    shop.bought(bundle_id=make_bundle(session, *course_ids))
    wish = {"user_id": shop.buyer, "plan_id": plan.id, "provider": "stripe", "receipt_email": None}

    with pytest.raises(AlreadyPurchased):
        shop.checkout(plan_id=plan.id)
    with pytest.raises(AlreadyPurchased):
        start_subscription(shop.sessions, shop.providers, **wish)


def the_refund(shop: Shop, order_id) -> Refund:
    [refund] = Refund.of_order(shop.session, order_id)
    return refund


def test_page_of_a_course_paid_after_its_bundle_is_refunded_with_an_event(shop, session, course_ids):
    page = shop.checkout(course_ids[0])
    shop.bought(bundle_id=make_bundle(session, *course_ids))

    shop.pay(page)
    shop.sync(page)
    refund = the_refund(shop, page["order_id"])
    sync_refund(shop.sessions, shop.providers, refund_id=refund.id)

    assert (shop.attempt(page).status, shop.order(page).status) == ("duplicate", "expired")
    assert (refund.status, refund.reason) == ("succeeded", "already owned")
    assert shop.given_back(page) == [4900]
    assert shop.told(page) == ["ORDER_CREATED", "ORDER_EXPIRED", "PAYMENT_REFUNDED"]


def test_page_of_a_bundle_paid_after_one_of_its_courses_stands(shop, session, course_ids):
    page = shop.checkout(bundle_id=make_bundle(session, *course_ids))
    shop.bought(course_ids[0])

    shop.pay(page)
    shop.sync(page)

    assert shop.order(page).status == "paid"


def test_hold_for_what_is_owned_is_released_and_never_captured(kassa_shop, session):
    shop = kassa_shop
    course_id = make_offer(session, price_minor=199000, currency="RUB")
    page = shop.checkout(course_id, provider="yookassa")
    shop.bought(bundle_id=make_bundle(session, course_id))
    shop.pay(page)

    shop.sync(page)

    assert shop.attempt(page).status == "canceled"
    assert shop.kassa.payments_of(str(page["order_id"])) == []


def test_late_money_for_a_period_that_another_order_paid_is_given_back(shop, session, course_ids):
    fields = {"name": "All", "amount_minor": 900, "currency": "USD", "interval": "month", "trial_days": 0}
    plan = Plan.make(at=now(), course_ids=[str(course_id) for course_id in course_ids], **fields)
    session.add(plan)
    session.flush()
    checkout = shop.bought(plan_id=plan.id)
    paid_order = shop.order(checkout)
    given_up = Order(
        id=checkout["id"],
        version=0,
        user_id=shop.buyer,
        status="expired",
        subscription_id=paid_order.subscription_id,
        period_start=paid_order.period_start,
        period_end=paid_order.period_end,
        course_title="All",
        amount_minor=900,
        currency="USD",
        created_at=now(),
    )
    attempt = Attempt.begin(shop.attempt(checkout).terms, open_for=timedelta(hours=1), at=now())
    given_up.attempts.append(attempt)
    session.add(given_up)
    session.flush()

    apply_snapshot(session, attempt, paid(attempt, page_id="cs_late", payment_id="pi_late"))
    session.flush()

    assert attempt.status == "duplicate"
    assert the_refund(shop, given_up.id).reason == "paid twice"


def test_course_and_its_bundle_paid_at_once_are_paid_for_once(database, stripe, standin):
    with sessions("payments").begin() as session:
        course_id = make_offer(session)
        bundle_id = make_bundle(session, course_id)
    shops, buyer = {"stripe": stripe}, uuid4()
    wish = {"user_id": buyer, "plan_id": None, "provider": "stripe", "success_url": None, "cancel_url": None}
    checkouts = [
        start_checkout(Committing(), shops, **wish, receipt_email=None, **goods)
        for goods in ({"course_id": course_id}, {"course_id": None, "bundle_id": bundle_id})
    ]
    for checkout in checkouts:
        standin.pay(checkout["redirect_url"].rpartition("/")[2], "succeed")

    at_once(*[partial(sync_attempt, Committing(), shops, attempt_id=checkout["id"]) for checkout in checkouts])

    with sessions("payments")() as session:
        statuses = [session.get_one(Attempt, checkout["id"]).status for checkout in checkouts]
    assert sorted(statuses) == ["duplicate", "succeeded"]
