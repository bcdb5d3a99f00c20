"""Coupons: what they take off, for whom, and how often."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models.base import now, sessions
from models.errors import (
    AmountTooSmall,
    CouponCurrencyMismatch,
    CouponExpired,
    CouponNotApplicable,
    CouponTaken,
    CouponUnknown,
    CouponUsedMore,
    CouponUsedUp,
    PaymentRefused,
)
from models.payments import Coupon, Redemption
from tests.payments.shop import make_bundle, make_coupon, make_offer
from tests.payments.test_races import Committing
from tests.support.waiting import at_once, eventually
from workers.payments.checkouts import start_checkout
from workers.payments.coupons import CouponLimits, CouponTerms, change_coupon, issue_coupon, list_coupons
from workers.payments.orders import cancel_order

RACERS = 24


@pytest.fixture
def course_id(session):
    return make_offer(session)


def redeemed(session, code: str) -> int:
    session.flush()
    return Coupon.locked(session, code).redeemed


@pytest.mark.parametrize(
    ("terms", "amount_minor"),
    [
        ({"kind": "percent", "value": 10}, 4410),
        ({"kind": "percent", "value": 33}, 3283),
        ({"kind": "fixed", "value": 900, "currency": "USD"}, 4000),
    ],
)
def test_a_coupon_takes_off_what_it_says(shop, session, course_id, terms, amount_minor):
    code = make_coupon(session, **terms)
    checkout = shop.checkout(course_id, coupon=code.lower())
    assert checkout["amount_minor"] == amount_minor
    order = shop.order(checkout).view()
    assert (order["coupon"], order["discount_minor"]) == (code, 4900 - amount_minor)
    assert order["amount_minor"] == amount_minor


@pytest.mark.parametrize(
    ("percent", "price_minor", "amount_minor"), [(25, 1999, 1499), (50, 999, 499), (33, 1000, 670)]
)
def test_percentage_is_rounded_half_up(shop, session, percent, price_minor, amount_minor):
    course_id = make_offer(session, price_minor=price_minor)

    assert shop.checkout(course_id, coupon=make_coupon(session, value=percent))["amount_minor"] == amount_minor


def test_spaces_around_a_code_do_not_count(shop, session, course_id):
    code = make_coupon(session)

    assert shop.checkout(course_id, coupon=f" {code.lower()} ")["amount_minor"] == 4410


class Refusing:
    """A provider that opens no page."""

    def __init__(self, provider) -> None:
        self._provider = provider

    def __getattr__(self, name: str):
        return getattr(self._provider, name)

    def open_page(self, _request):
        raise PaymentRefused("amount_too_small")


def test_refused_page_holds_no_coupon(shop, session, course_id):
    code, real = make_coupon(session, max_redemptions=1), shop.providers
    shop.providers = {"stripe": Refusing(real["stripe"])}
    with pytest.raises(PaymentRefused):
        shop.checkout(course_id, coupon=code)
    assert redeemed(session, code) == 0

    shop.providers = real
    refused_buyer, shop.buyer = shop.buyer, uuid4()
    other = shop.checkout(course_id, coupon=code)
    assert (other["amount_minor"], redeemed(session, code)) == (4410, 1)
    shop.buyer = refused_buyer
    again = shop.checkout(course_id)
    assert (again["amount_minor"], shop.order(again).view()["discount_minor"]) == (4900, 0)


def test_coupon_below_the_least_amount_is_refused_before_it_is_held(shop, session):
    code = make_coupon(session, value=99, max_redemptions=1)
    with pytest.raises(AmountTooSmall):
        shop.checkout(make_offer(session, price_minor=1000), coupon=code)

    assert redeemed(session, code) == 0


def test_payment_that_failed_for_good_holds_no_coupon(shop, session, course_id):
    code = make_coupon(session, max_redemptions=1)
    checkout = shop.checkout(course_id, coupon=code)

    shop.apply(checkout, status="failed", page_open=False)

    order = shop.order(checkout).view()
    assert (order["status"], order["coupon"], order["amount_minor"], redeemed(session, code)) == (
        "pending",
        None,
        4900,
        0,
    )


def test_full_refund_gives_the_coupon_back_and_keeps_it_on_the_invoice(shop, session, course_id):
    code = make_coupon(session, max_redemptions=1, max_per_user=1)
    checkout = shop.bought(course_id, coupon=code)
    shop.refund(checkout, 1000)
    assert redeemed(session, code) == 1

    shop.refund(checkout)

    assert (redeemed(session, code), shop.order(checkout).view()["coupon"]) == (0, code)
    assert shop.bought(course_id, coupon=code)
    assert redeemed(session, code) == 1


def test_refund_that_keeps_access_keeps_the_coupon_used(shop, session, course_id):
    code = make_coupon(session, max_redemptions=1)
    checkout = shop.bought(course_id, coupon=code)

    shop.refund(checkout, keeps_access=True)

    assert redeemed(session, code) == 1


def test_what_costs_nothing_after_its_coupon_is_fulfilled_at_once(shop, session, course_id):
    for terms in ({"kind": "percent", "value": 100}, {"kind": "fixed", "value": 10**6, "currency": "USD"}):
        shop.buyer = uuid4()
        checkout = shop.checkout(course_id, coupon=make_coupon(session, **terms))
        assert (checkout["status"], checkout["amount_minor"], checkout["redirect_url"]) == ("succeeded", 0, None)
        assert shop.told(checkout) == ["ORDER_CREATED", "COURSE_PURCHASED"]


@pytest.mark.parametrize(
    ("terms", "refusal"),
    [
        ({"ends_at": now() - timedelta(days=1)}, CouponExpired),
        ({"starts_at": now() + timedelta(days=1)}, CouponExpired),
        ({"course_ids": [str(uuid4())]}, CouponNotApplicable),
        ({"kind": "fixed", "value": 1, "currency": "EUR"}, CouponCurrencyMismatch),
    ],
)
def test_a_coupon_that_does_not_fit_is_refused_with_why(shop, session, course_id, terms, refusal):
    with pytest.raises(refusal):
        shop.checkout(course_id, coupon=make_coupon(session, **terms))


def test_a_code_that_nobody_issued_is_unknown(shop, course_id):
    with pytest.raises(CouponUnknown):
        shop.checkout(course_id, coupon="NOBODYS")


def test_a_coupon_for_some_courses_is_for_a_bundle_of_these_alone(shop, session, course_id):
    other = make_offer(session)
    code = make_coupon(session, course_ids=[str(course_id)])
    assert shop.checkout(course_id, coupon=code)["amount_minor"] == 4410
    assert shop.checkout(bundle_id=make_bundle(session, course_id), coupon=code)["amount_minor"] == 5400
    with pytest.raises(CouponNotApplicable):
        shop.checkout(bundle_id=make_bundle(session, course_id, other), coupon=code)


def test_a_coupon_is_used_up_for_all_and_for_one(shop, session, course_id):
    once, each_once = make_coupon(session, max_redemptions=1), make_coupon(session, max_per_user=1)
    shop.checkout(course_id, coupon=once)
    shop.checkout(course_id, coupon=once)  # the same order holds it already
    shop.buyer = uuid4()
    with pytest.raises(CouponUsedUp):
        shop.checkout(course_id, coupon=once)
    shop.checkout(course_id, coupon=each_once)
    with pytest.raises(CouponUsedUp):
        shop.checkout(make_offer(session), coupon=each_once)
    assert (redeemed(session, once), redeemed(session, each_once)) == (1, 1)


def test_an_order_that_is_given_up_lets_its_coupon_go(shop, session, course_id):
    code = make_coupon(session, max_redemptions=1)
    canceled = shop.checkout(course_id, coupon=code)
    cancel_order(shop.sessions, shop.providers, order_id=canceled["order_id"], user_id=shop.buyer)
    assert redeemed(session, code) == 0
    expired = shop.checkout(course_id, coupon=code)
    shop.apply(expired, status="expired", page_open=False)
    assert (shop.order(expired).status, redeemed(session, code)) == ("expired", 0)
    assert shop.bought(course_id, coupon=code)
    assert redeemed(session, code) == 1


def test_a_checkout_without_the_coupon_lets_it_go_and_another_takes_its_place(shop, session, course_id):
    first, second = make_coupon(session), make_coupon(session, value=20)
    shop.checkout(course_id, coupon=first)
    checkout = shop.checkout(course_id, coupon=second)
    assert (checkout["amount_minor"], redeemed(session, first), redeemed(session, second)) == (3920, 0, 1)
    assert shop.checkout(course_id)["amount_minor"] == 4900
    assert redeemed(session, second) == 0


def test_a_refused_coupon_leaves_the_open_page_as_it_is(shop, session, course_id):
    open_one = shop.checkout(course_id)
    with pytest.raises(CouponUnknown):
        shop.checkout(course_id, coupon="NOBODYS")
    assert shop.checkout(course_id)["id"] == open_one["id"]


def test_the_limits_of_a_coupon_change_and_never_below_what_was_used(shop, session, course_id):
    code = make_coupon(session, max_redemptions=5)
    shop.checkout(course_id, coupon=code)
    coupon_id = Coupon.locked(session, code).id
    changed = change_coupon(
        session, coupon_id=coupon_id, expected_version=1, limits=CouponLimits(max_redemptions=1, ends_at=now())
    )
    assert (changed["max_redemptions"], changed["redeemed"], changed["max_per_user"]) == (1, 1, None)
    session.flush()
    shop.buyer = uuid4()
    shop.checkout(course_id, coupon=make_coupon(session))
    other = Coupon.locked(session, make_coupon(session))
    other.redeemed = 2
    with pytest.raises(CouponUsedMore):
        other.change({"max_redemptions": 1})
    session.expire(other)
    assert code in {coupon["code"] for coupon in list_coupons(session, limit=10, after=None)["items"]}


def test_a_code_is_issued_once(session):
    code = make_coupon(session)
    with pytest.raises(CouponTaken):
        make_coupon(session, code=code)


def test_the_database_refuses_one_redemption_too_many(shop, session, course_id):
    code = make_coupon(session, max_redemptions=1)
    shop.checkout(course_id, coupon=code)
    shop.buyer = uuid4()
    order = shop.order(shop.checkout(course_id))
    order.redemption = Redemption(
        coupon_id=Coupon.locked(session, code).id, user_id=shop.buyer, code=code, discount_minor=1, redeemed_at=now()
    )
    with pytest.raises(IntegrityError, match="ck_coupons_redeemed"):
        session.flush()


def test_code_that_is_issued_twice_at_once_is_taken(database):
    issue = partial(issue_coupon, terms=CouponTerms(code=f"T{uuid4().hex}".upper(), kind="percent", value=10))
    with ThreadPoolExecutor(1) as pool:
        with sessions("payments").begin() as first:
            issue(first)
            second = pool.submit(in_transaction, issue)
            eventually(lambda: database.value("SELECT count(*) FROM pg_locks WHERE NOT granted"), "the second request")
        with pytest.raises(CouponTaken):
            second.result()
    assert database.count("payments.coupons") == 1


def in_transaction(act: Callable[[Session], Any]) -> Any:
    with sessions("payments").begin() as session:
        return act(session)


def test_24_buyers_at_once_redeem_no_more_than_there_are(database, stripe, standin):
    # shopper#510: a coupon was sold more often than it was issued.
    with sessions("payments").begin() as session:
        course_id, code = make_offer(session), make_coupon(session, max_redemptions=5, value=100)
    wish = {"course_id": course_id, "plan_id": None, "provider": "stripe", "coupon": code}
    where = {"success_url": None, "cancel_url": None, "receipt_email": None}

    def buy() -> str:
        try:
            return start_checkout(Committing(), {"stripe": stripe}, user_id=uuid4(), **wish, **where)["status"]
        except CouponUsedUp:
            return "used up"

    outcomes = at_once(*[buy] * RACERS)
    assert sorted(outcomes) == ["succeeded"] * 5 + ["used up"] * (RACERS - 5)
    with sessions("payments")() as session:
        assert Coupon.locked(session, code).redeemed == 5


def test_one_buyer_at_24_checkouts_redeems_once(database, stripe, standin):
    with sessions("payments").begin() as session:
        course_ids = [make_offer(session) for _ in range(RACERS)]
        code = make_coupon(session, max_per_user=1, value=100)
    buyer, where = uuid4(), {"success_url": None, "cancel_url": None, "receipt_email": None, "plan_id": None}

    def buy(course_id) -> str:
        wish = {"course_id": course_id, "provider": "stripe", "coupon": code}
        try:
            return start_checkout(Committing(), {"stripe": stripe}, user_id=buyer, **wish, **where)["status"]
        except CouponUsedUp:
            return "used up"

    outcomes = at_once(*[lambda course_id=course_id: buy(course_id) for course_id in course_ids])
    assert sorted(outcomes) == ["succeeded"] + ["used up"] * (RACERS - 1)


def test_buyers_who_swap_coupons_do_not_deadlock(database, stripe, standin):
    with sessions("payments").begin() as session:
        courses = [make_offer(session), make_offer(session)]
        codes = [make_coupon(session, value=10), make_coupon(session, value=20)]
    buyers, where = [uuid4(), uuid4()], {"success_url": None, "cancel_url": None, "receipt_email": None}

    def check_out(number: int, code: str) -> int:
        message = {"user_id": buyers[number], "course_id": courses[number], "plan_id": None, "provider": "stripe"}
        return start_checkout(Committing(), {"stripe": stripe}, coupon=code, **message, **where)["amount_minor"]

    taken = {
        tuple(at_once(partial(check_out, 0, codes[turn % 2]), partial(check_out, 1, codes[1 - turn % 2])))
        for turn in range(8)
    }

    assert taken == {(4410, 3920), (3920, 4410)}
    with sessions("payments")() as session:
        assert [Coupon.locked(session, code).redeemed for code in codes] == [1, 1]
