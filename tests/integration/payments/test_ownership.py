"""An owned course is not sold to its owner again, whichever order paid for it."""

from datetime import timedelta
from functools import partial
from uuid import uuid4

import pytest

from core.db import session_factory, utc_now
from models.errors import AlreadyPurchased
from models.payments import Order, PaymentAttempt, Plan, Refund
from tests.integration.payments.harness import (
    CommittingTransactions,
    PaymentsHarness,
    make_bundle,
    make_offer,
    paid_snapshot,
)
from tests.support.polling import run_concurrently
from workers.payments.checkouts import start_checkout
from workers.payments.payment_flow import apply_payment_snapshot
from workers.payments.payment_sync import sync_attempt
from workers.payments.refunds import sync_refund
from workers.payments.subscriptions import start_subscription


@pytest.fixture
def course_ids(session):
    return [make_offer(session) for _ in range(2)]


def test_bundle_of_owned_courses_is_rejected(harness, session, course_ids):
    for course_id in course_ids:
        harness.buy(course_id)

    with pytest.raises(AlreadyPurchased):
        harness.checkout(bundle_id=make_bundle(session, *course_ids))


def test_bundle_equal_to_owned_bundle_is_rejected(harness, session, course_ids):
    harness.buy(bundle_id=make_bundle(session, *course_ids))

    with pytest.raises(AlreadyPurchased):
        harness.checkout(bundle_id=make_bundle(session, *reversed(course_ids)))


def test_partly_owned_bundle_is_sold(harness, session, course_ids):
    harness.buy(course_ids[0])

    assert harness.checkout(bundle_id=make_bundle(session, *course_ids))["status"] == "requires_action"


def test_bundle_is_sold_again_after_a_refund(harness, session, course_ids):
    first, second = harness.buy(course_ids[0]), harness.buy(course_ids[1])
    harness.refund(first)
    harness.refund(second)

    assert harness.checkout(bundle_id=make_bundle(session, *course_ids))["status"] == "requires_action"


def test_plan_of_owned_courses_is_rejected(harness, session, course_ids):
    fields = {"name": "All", "amount_minor": 900, "currency": "USD", "interval": "month", "trial_days": 0}
    plan = Plan.create(at=utc_now(), course_ids=[str(course_id) for course_id in course_ids], **fields)
    session.add(plan)
    session.flush()
    harness.buy(bundle_id=make_bundle(session, *course_ids))
    command = {"user_id": harness.buyer, "plan_id": plan.id, "provider": "stripe", "receipt_email": None}

    with pytest.raises(AlreadyPurchased):
        harness.checkout(plan_id=plan.id)
    with pytest.raises(AlreadyPurchased):
        start_subscription(harness.transactions, harness.providers, **command)


def refund_of(harness: PaymentsHarness, order_id) -> Refund:
    [refund] = Refund.list_for_order(harness.session, order_id)
    return refund


def test_course_paid_after_its_bundle_is_refunded(harness, session, course_ids):
    page = harness.checkout(course_ids[0])
    harness.buy(bundle_id=make_bundle(session, *course_ids))

    harness.pay(page)
    harness.sync(page)
    refund = refund_of(harness, page["order_id"])
    sync_refund(harness.transactions, harness.providers, refund_id=refund.id)

    assert (harness.attempt(page).status, harness.order(page).status) == ("duplicate", "expired")
    assert (refund.status, refund.reason) == ("succeeded", "already owned")
    assert harness.refunded_at_provider(page) == [4900]
    assert harness.event_types(page) == ["ORDER_CREATED", "ORDER_EXPIRED", "PAYMENT_REFUNDED"]


def test_bundle_paid_after_one_of_its_courses_is_kept(harness, session, course_ids):
    page = harness.checkout(bundle_id=make_bundle(session, *course_ids))
    harness.buy(course_ids[0])

    harness.pay(page)
    harness.sync(page)

    assert harness.order(page).status == "paid"


def test_authorization_for_owned_course_is_voided(harness_with_yookassa, session):
    harness = harness_with_yookassa
    course_id = make_offer(session, price_minor=199000, currency="RUB")
    page = harness.checkout(course_id, provider="yookassa")
    harness.buy(bundle_id=make_bundle(session, course_id))
    harness.pay(page)

    harness.sync(page)

    assert harness.attempt(page).status == "canceled"
    assert harness.fake_yookassa.payments_of(str(page["order_id"])) == []


def test_late_payment_for_paid_period_is_refunded(harness, session, course_ids):
    fields = {"name": "All", "amount_minor": 900, "currency": "USD", "interval": "month", "trial_days": 0}
    plan = Plan.create(at=utc_now(), course_ids=[str(course_id) for course_id in course_ids], **fields)
    session.add(plan)
    session.flush()
    checkout = harness.buy(plan_id=plan.id)
    paid_order = harness.order(checkout)
    abandoned = Order(
        id=checkout["id"],
        version=0,
        user_id=harness.buyer,
        status="expired",
        subscription_id=paid_order.subscription_id,
        period_start=paid_order.period_start,
        period_end=paid_order.period_end,
        course_title="All",
        amount_minor=900,
        currency="USD",
        created_at=utc_now(),
    )
    attempt = PaymentAttempt.create(harness.attempt(checkout).terms, ttl=timedelta(hours=1), at=utc_now())
    abandoned.attempts.append(attempt)
    session.add(abandoned)
    session.flush()

    apply_payment_snapshot(
        session, attempt, paid_snapshot(attempt, checkout_session_id="cs_late", payment_id="pi_late")
    )
    session.flush()

    assert attempt.status == "duplicate"
    assert refund_of(harness, abandoned.id).reason == "paid twice"


def test_concurrent_course_and_bundle_payments_fulfil_once(database, stripe, fake_stripe):
    with session_factory("payments").begin() as session:
        course_id = make_offer(session)
        bundle_id = make_bundle(session, course_id)
    providers, buyer = {"stripe": stripe}, uuid4()
    command = {"user_id": buyer, "plan_id": None, "provider": "stripe", "success_url": None, "cancel_url": None}
    checkouts = [
        start_checkout(CommittingTransactions(), providers, **command, receipt_email=None, **goods)
        for goods in ({"course_id": course_id}, {"course_id": None, "bundle_id": bundle_id})
    ]
    for checkout in checkouts:
        fake_stripe.pay(checkout["redirect_url"].rpartition("/")[2], "succeed")

    run_concurrently(
        *[
            partial(sync_attempt, CommittingTransactions(), providers, attempt_id=checkout["id"])
            for checkout in checkouts
        ]
    )

    with session_factory("payments")() as session:
        statuses = [session.get_one(PaymentAttempt, checkout["id"]).status for checkout in checkouts]
    assert sorted(statuses) == ["duplicate", "succeeded"]
