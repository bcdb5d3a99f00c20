"""Amounts that a provider refuses are refused before anything is stored; those that it takes arrive as they are."""

from contextlib import suppress

import pytest

from models.errors import AmountNotDivisible, AmountTooLarge, AmountTooSmall, CurrencyNotSupported, DomainError
from models.money import currencies
from ops.local.standins.calls import Refusal
from ops.local.standins.stripe import amounts as stripe_fake
from tests.payments.shop import make_coupon, make_offer
from tests.payments.test_coupons import redeemed
from workers.payments.orders import show_invoice
from workers.payments.reconciliation import compare_day
from workers.payments.stripe_amounts import PRESENTMENT, StripeAmounts, from_stripe, to_stripe

AMOUNTS = sorted(
    {n + d for n in (0, 30, 50, 100, 1000, 17500, 10**5, 10**8, 10**9, 10**10, 10**12) for d in (-1, 0, 1)}
)
AMOUNTS += [12345, 12340, 12300, 10000]


def is_taken_by_fake(amount_minor: int, currency: str) -> bool:
    try:
        stripe_fake.check_charge(to_stripe(amount_minor, currency), currency.lower())
    except Refusal:
        return False
    except DomainError:
        return False
    return True


def is_taken_by_adapter(amount_minor: int, currency: str) -> bool:
    with suppress(DomainError):
        StripeAmounts().check_charge(amount_minor, currency)
        return True
    return False


def test_adapter_refuses_what_stripe_refuses():
    assert {code.upper() for code in stripe_fake.SUPPORTED} == PRESENTMENT
    for currency in sorted(PRESENTMENT):
        for amount_minor in AMOUNTS:
            known = is_taken_by_adapter(amount_minor, currency)
            assert known == is_taken_by_fake(amount_minor, currency), (amount_minor, currency)


def test_every_currency_survives_the_way_to_stripe_and_back():
    for currency in currencies():
        assert from_stripe(to_stripe(123400, currency), currency.lower()) == 123400
    assert (to_stripe(500, "ISK"), to_stripe(500, "UGX"), to_stripe(500, "MGA")) == (50000, 50000, 5)
    assert (to_stripe(500, "JPY"), to_stripe(500, "KWD"), to_stripe(500, "HUF")) == (500, 500, 500)


@pytest.mark.parametrize(
    ("price", "at_stripe", "total"),
    [
        ((5000, "ISK"), 500000, "5000"),
        ((50000, "UGX"), 5000000, "50000"),
        ((500000, "MGA"), 5000, "5000.00"),
        ((5000, "JPY"), 5000, "5000"),
        ((5000, "CLP"), 5000, "5000"),
        ((12300, "KWD"), 12300, "12.300"),
        ((500000, "HUF"), 500000, "5000.00"),
    ],
)
def test_special_currency_is_charged_and_refunded_exactly(shop, session, price, at_stripe, total):
    amount_minor, currency = price
    checkout = shop.bought(make_offer(session, price_minor=amount_minor, currency=currency))
    part = amount_minor // 10
    shop.refund(checkout, part)

    attempt, order = shop.attempt(checkout), shop.order(checkout)
    [charge] = shop.standin.payments_of(str(checkout["order_id"]))
    assert charge["amount_minor"] == at_stripe
    assert shop.given_back(checkout) == [at_stripe // 10]
    assert (attempt.captured_minor, attempt.refunded_minor, order.status) == (amount_minor, part, "partially_refunded")
    assert show_invoice(session, order_id=order.id, user_id=shop.buyer)["total"] == total


@pytest.mark.parametrize("currency", ["ISK", "MGA"])
def test_dispute_of_special_currency_takes_the_exact_amount(shop, session, currency):
    checkout = shop.bought(make_offer(session, price_minor=500000, currency=currency))
    opened = shop.standin.post(f"/__dispute/{shop.attempt(checkout).payment_id}")

    shop.hear(opened["id"], "charge.dispute.created")

    assert shop.attempt(checkout).disputed_minor == 500000


def test_reconciliation_compares_special_currencies_in_minor_units(shop, session):
    checkout = shop.bought(make_offer(session, price_minor=500000, currency="ISK"))
    shop.refund(checkout, 1000)
    since = shop.attempt(checkout).created_at.replace(microsecond=0)

    found = compare_day(shop.sessions, shop.poke, "stripe", shop.providers["stripe"], since=since)

    assert shop.attempt(checkout).payment_id not in {each.movement.payment_id for each in found}


@pytest.mark.parametrize(
    ("provider", "price", "refusal"),
    [
        ("stripe", (49, "USD"), AmountTooSmall),
        ("stripe", (17499, "HUF"), AmountTooSmall),
        ("stripe", (10**8, "USD"), AmountTooLarge),
        ("stripe", (10**7, "UGX"), AmountTooLarge),
        ("stripe", (12345, "KWD"), AmountNotDivisible),
        ("stripe", (500050, "MGA"), AmountNotDivisible),
        ("stripe", (12345, "LYD"), CurrencyNotSupported),
        ("yookassa", (99, "RUB"), AmountTooSmall),
        ("yookassa", (4900, "USD"), CurrencyNotSupported),
    ],
)
def test_amount_that_cannot_be_charged_is_refused(kassa_shop, session, provider, price, refusal):
    course_id = make_offer(session, price_minor=price[0], currency=price[1])

    with pytest.raises(refusal):
        kassa_shop.checkout(course_id, provider=provider)


@pytest.mark.parametrize(
    ("price", "percent", "refusal"),
    [((1000, "USD"), 99, AmountTooSmall), ((10050, "KWD"), 15, AmountNotDivisible)],
)
def test_coupon_whose_total_cannot_be_charged_is_not_held(shop, session, price, percent, refusal):
    course_id = make_offer(session, price_minor=price[0], currency=price[1])
    code = make_coupon(session, value=percent, max_redemptions=1)

    with pytest.raises(refusal):
        shop.checkout(course_id, coupon=code)

    assert redeemed(session, code) == 0


def test_refund_that_stripe_cannot_express_is_refused_before_it_is_stored(shop, session):
    checkout = shop.bought(make_offer(session, price_minor=12340, currency="KWD"))

    with pytest.raises(AmountNotDivisible):
        shop.refund(checkout, 1234)

    assert (shop.given_back(checkout), shop.attempt(checkout).refundable_minor) == ([], 12340)
