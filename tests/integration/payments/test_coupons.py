"""Coupons: the discount, who may redeem them, and how often."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.db import session_factory, utc_now
from models.commands.payments import CouponLimits, CouponTerms
from models.errors import (
    CouponCodeExists,
    CouponCurrencyMismatch,
    CouponExhausted,
    CouponExpired,
    CouponLimitBelowUsage,
    CouponNotApplicable,
    CouponPeriodInvalid,
    CouponUnknown,
    PaymentRefused,
)
from models.payments import Coupon, Redemption
from tests.integration.payments.harness import CommittingTransactions, make_bundle, make_coupon, make_offer
from tests.support.polling import eventually, run_concurrently
from workers.payments.checkouts import start_checkout
from workers.payments.coupons import change_coupon, create_coupon, list_coupons
from workers.payments.orders import cancel_order

CONCURRENCY = 24


@pytest.fixture
def course_id(session):
    return make_offer(session)


def redemption_count(session, code: str) -> int:
    session.flush()
    return Coupon.get_by_code_for_update(session, code).redeemed


@pytest.mark.parametrize(
    ("terms", "amount_minor"),
    [
        ({"kind": "percent", "value": 10}, 4410),
        ({"kind": "percent", "value": 33}, 3283),
        ({"kind": "fixed", "value": 900, "currency": "USD"}, 4000),
    ],
)
def test_coupon_discounts_order(harness, session, course_id, terms, amount_minor):
    code = make_coupon(session, **terms)
    checkout = harness.checkout(course_id, coupon=code.lower())
    assert checkout["amount_minor"] == amount_minor
    order = harness.order_response(checkout)
    assert (order["coupon"], order["discount_minor"]) == (code, 4900 - amount_minor)
    assert order["amount_minor"] == amount_minor


@pytest.mark.parametrize(
    ("percent", "price_minor", "amount_minor"), [(25, 1999, 1499), (50, 999, 499), (33, 1000, 670)]
)
def test_percentage_is_rounded_half_up(harness, session, percent, price_minor, amount_minor):
    course_id = make_offer(session, price_minor=price_minor)

    assert harness.checkout(course_id, coupon=make_coupon(session, value=percent))["amount_minor"] == amount_minor


def test_coupon_code_whitespace_is_ignored(harness, session, course_id):
    code = make_coupon(session)

    assert harness.checkout(course_id, coupon=f" {code.lower()} ")["amount_minor"] == 4410


class RefusingProvider:
    """A provider that opens no checkout session."""

    def __init__(self, provider) -> None:
        self._provider = provider

    def __getattr__(self, name: str):
        return getattr(self._provider, name)

    def open_checkout_session(self, _request):
        raise PaymentRefused("amount_too_small")


def test_refused_checkout_does_not_redeem_coupon(harness, session, course_id):
    code, providers = make_coupon(session, max_redemptions=1), harness.providers
    harness.providers = {"stripe": RefusingProvider(providers["stripe"])}
    with pytest.raises(PaymentRefused):
        harness.checkout(course_id, coupon=code)
    assert redemption_count(session, code) == 0

    harness.providers = providers
    refused_buyer, harness.buyer = harness.buyer, uuid4()
    other = harness.checkout(course_id, coupon=code)
    assert (other["amount_minor"], redemption_count(session, code)) == (4410, 1)
    harness.buyer = refused_buyer
    again = harness.checkout(course_id)
    assert (again["amount_minor"], harness.order_response(again)["discount_minor"]) == (4900, 0)


def test_failed_payment_releases_coupon(harness, session, course_id):
    code = make_coupon(session, max_redemptions=1)
    checkout = harness.checkout(course_id, coupon=code)

    harness.apply(checkout, status="failed", checkout_session_open=False)

    order = harness.order_response(checkout)
    assert (order["status"], order["coupon"], order["amount_minor"], redemption_count(session, code)) == (
        "pending",
        None,
        4900,
        0,
    )


def test_full_refund_returns_coupon_but_keeps_it_on_order(harness, session, course_id):
    code = make_coupon(session, max_redemptions=1, max_per_user=1)
    checkout = harness.buy(course_id, coupon=code)
    harness.refund(checkout, 1000)
    assert redemption_count(session, code) == 1

    harness.refund(checkout)

    assert (redemption_count(session, code), harness.order_response(checkout)["coupon"]) == (0, code)
    assert harness.buy(course_id, coupon=code)
    assert redemption_count(session, code) == 1


def test_refund_with_kept_access_does_not_return_coupon(harness, session, course_id):
    code = make_coupon(session, max_redemptions=1)
    checkout = harness.buy(course_id, coupon=code)

    harness.refund(checkout, keeps_access=True)

    assert redemption_count(session, code) == 1


def test_fully_discounted_order_is_fulfilled_immediately(harness, session, course_id):
    for terms in ({"kind": "percent", "value": 100}, {"kind": "fixed", "value": 10**6, "currency": "USD"}):
        harness.buyer = uuid4()
        checkout = harness.checkout(course_id, coupon=make_coupon(session, **terms))
        assert (checkout["status"], checkout["amount_minor"], checkout["redirect_url"]) == ("succeeded", 0, None)
        assert harness.event_types(checkout) == ["ORDER_CREATED", "COURSE_PURCHASED"]


@pytest.mark.parametrize(
    ("terms", "refusal"),
    [
        ({"ends_at": utc_now() - timedelta(days=1)}, CouponExpired),
        ({"starts_at": utc_now() + timedelta(days=1)}, CouponExpired),
        ({"course_ids": [str(uuid4())]}, CouponNotApplicable),
        ({"kind": "fixed", "value": 1, "currency": "EUR"}, CouponCurrencyMismatch),
    ],
)
def test_inapplicable_coupon_is_rejected_with_reason(harness, session, course_id, terms, refusal):
    with pytest.raises(refusal):
        harness.checkout(course_id, coupon=make_coupon(session, **terms))


def test_unknown_coupon_is_rejected(harness, course_id):
    with pytest.raises(CouponUnknown):
        harness.checkout(course_id, coupon="UNKNOWN")


def test_course_coupon_requires_bundle_of_its_courses_only(harness, session, course_id):
    other = make_offer(session)
    code = make_coupon(session, course_ids=[str(course_id)])
    assert harness.checkout(course_id, coupon=code)["amount_minor"] == 4410
    assert harness.checkout(bundle_id=make_bundle(session, course_id), coupon=code)["amount_minor"] == 5400
    with pytest.raises(CouponNotApplicable):
        harness.checkout(bundle_id=make_bundle(session, course_id, other), coupon=code)


def test_coupon_limits_total_and_per_user_redemptions(harness, session, course_id):
    once, each_once = make_coupon(session, max_redemptions=1), make_coupon(session, max_per_user=1)
    harness.checkout(course_id, coupon=once)
    harness.checkout(course_id, coupon=once)  # the same order keeps its redemption
    harness.buyer = uuid4()
    with pytest.raises(CouponExhausted):
        harness.checkout(course_id, coupon=once)
    harness.checkout(course_id, coupon=each_once)
    with pytest.raises(CouponExhausted):
        harness.checkout(make_offer(session), coupon=each_once)
    assert (redemption_count(session, once), redemption_count(session, each_once)) == (1, 1)


def test_canceled_or_expired_order_releases_coupon(harness, session, course_id):
    code = make_coupon(session, max_redemptions=1)
    canceled = harness.checkout(course_id, coupon=code)
    cancel_order(harness.transactions, harness.providers, order_id=canceled["order_id"], user_id=harness.buyer)
    assert redemption_count(session, code) == 0
    expired = harness.checkout(course_id, coupon=code)
    harness.apply(expired, status="expired", checkout_session_open=False)
    assert (harness.order(expired).status, redemption_count(session, code)) == ("expired", 0)
    assert harness.buy(course_id, coupon=code)
    assert redemption_count(session, code) == 1


def test_new_checkout_replaces_or_releases_coupon(harness, session, course_id):
    first, second = make_coupon(session), make_coupon(session, value=20)
    harness.checkout(course_id, coupon=first)
    checkout = harness.checkout(course_id, coupon=second)
    assert (checkout["amount_minor"], redemption_count(session, first), redemption_count(session, second)) == (
        3920,
        0,
        1,
    )
    assert harness.checkout(course_id)["amount_minor"] == 4900
    assert redemption_count(session, second) == 0


def test_rejected_coupon_keeps_open_session(harness, session, course_id):
    open_one = harness.checkout(course_id)
    with pytest.raises(CouponUnknown):
        harness.checkout(course_id, coupon="UNKNOWN")
    assert harness.checkout(course_id)["id"] == open_one["id"]


def test_coupon_limit_cannot_fall_below_redemptions(harness, session, course_id):
    code = make_coupon(session, max_redemptions=5)
    harness.checkout(course_id, coupon=code)
    coupon_id = Coupon.get_by_code_for_update(session, code).id
    changed = change_coupon(
        session, coupon_id=coupon_id, expected_version=1, limits=CouponLimits(max_redemptions=1, ends_at=utc_now())
    )
    assert (changed["max_redemptions"], changed["redeemed"], changed["max_per_user"]) == (1, 1, None)
    session.flush()
    harness.buyer = uuid4()
    harness.checkout(course_id, coupon=make_coupon(session))
    other = Coupon.get_by_code_for_update(session, make_coupon(session))
    other.redeemed = 2
    with pytest.raises(CouponLimitBelowUsage):
        other.change({"max_redemptions": 1})
    session.expire(other)
    assert code in {coupon["code"] for coupon in list_coupons(session, limit=10, after=None)["items"]}


@pytest.mark.parametrize("end", [timedelta(), timedelta(days=-1)])
def test_coupon_cannot_be_changed_to_end_before_its_start(session, end):
    starts_at = utc_now()
    coupon = Coupon.get_by_code_for_update(session, make_coupon(session, starts_at=starts_at))

    with pytest.raises(CouponPeriodInvalid):
        coupon.change({"ends_at": starts_at + end})

    session.expire(coupon)


def test_coupon_code_is_unique(session):
    code = make_coupon(session)
    with pytest.raises(CouponCodeExists):
        make_coupon(session, code=code)


def test_database_rejects_redemption_above_limit(harness, session, course_id):
    code = make_coupon(session, max_redemptions=1)
    harness.checkout(course_id, coupon=code)
    harness.buyer = uuid4()
    order = harness.order(harness.checkout(course_id))
    order.redemption = Redemption(
        coupon_id=Coupon.get_by_code_for_update(session, code).id,
        user_id=harness.buyer,
        code=code,
        discount_minor=1,
        redeemed_at=utc_now(),
    )
    with pytest.raises(IntegrityError, match="ck_coupons_redeemed"):
        session.flush()


def test_concurrent_duplicate_coupon_is_rejected(database):
    issue = partial(create_coupon, terms=CouponTerms(code=f"T{uuid4().hex}".upper(), kind="percent", value=10))
    with ThreadPoolExecutor(1) as pool:
        with session_factory("payments").begin() as first:
            issue(first)
            second = pool.submit(in_transaction, issue)
            eventually(lambda: database.value("SELECT count(*) FROM pg_locks WHERE NOT granted"), "the second request")
        with pytest.raises(CouponCodeExists):
            second.result()
    assert database.count("payments.coupons") == 1


def in_transaction(act: Callable[[Session], Any]) -> Any:
    with session_factory("payments").begin() as session:
        return act(session)


def test_concurrent_buyers_never_exceed_coupon_limit(database, stripe, fake_stripe):
    # shopper#510: a coupon was redeemed more often than its limit.
    with session_factory("payments").begin() as session:
        course_id, code = make_offer(session), make_coupon(session, max_redemptions=5, value=100)
    command = {"course_id": course_id, "plan_id": None, "provider": "stripe", "coupon": code}
    where = {"success_url": None, "cancel_url": None, "receipt_email": None}

    def buy() -> str:
        try:
            return start_checkout(CommittingTransactions(), {"stripe": stripe}, user_id=uuid4(), **command, **where)[
                "status"
            ]
        except CouponExhausted:
            return "used up"

    outcomes = run_concurrently(*[buy] * CONCURRENCY)
    assert sorted(outcomes) == ["succeeded"] * 5 + ["used up"] * (CONCURRENCY - 5)
    with session_factory("payments")() as session:
        assert Coupon.get_by_code_for_update(session, code).redeemed == 5


def test_concurrent_checkouts_of_one_buyer_redeem_once(database, stripe, fake_stripe):
    with session_factory("payments").begin() as session:
        course_ids = [make_offer(session) for _ in range(CONCURRENCY)]
        code = make_coupon(session, max_per_user=1, value=100)
    buyer, where = uuid4(), {"success_url": None, "cancel_url": None, "receipt_email": None, "plan_id": None}

    def buy(course_id) -> str:
        command = {"course_id": course_id, "provider": "stripe", "coupon": code}
        try:
            return start_checkout(CommittingTransactions(), {"stripe": stripe}, user_id=buyer, **command, **where)[
                "status"
            ]
        except CouponExhausted:
            return "used up"

    outcomes = run_concurrently(*[lambda course_id=course_id: buy(course_id) for course_id in course_ids])
    assert sorted(outcomes) == ["succeeded"] + ["used up"] * (CONCURRENCY - 1)


def test_swapping_coupons_does_not_deadlock(database, stripe, fake_stripe):
    with session_factory("payments").begin() as session:
        courses = [make_offer(session), make_offer(session)]
        codes = [make_coupon(session, value=10), make_coupon(session, value=20)]
    buyers, where = [uuid4(), uuid4()], {"success_url": None, "cancel_url": None, "receipt_email": None}

    def check_out(number: int, code: str) -> int:
        message = {"user_id": buyers[number], "course_id": courses[number], "plan_id": None, "provider": "stripe"}
        return start_checkout(CommittingTransactions(), {"stripe": stripe}, coupon=code, **message, **where)[
            "amount_minor"
        ]

    discounts = {
        tuple(run_concurrently(partial(check_out, 0, codes[turn % 2]), partial(check_out, 1, codes[1 - turn % 2])))
        for turn in range(8)
    }

    assert discounts == {(4410, 3920), (3920, 4410)}
    with session_factory("payments")() as session:
        assert [Coupon.get_by_code_for_update(session, code).redeemed for code in codes] == [1, 1]
