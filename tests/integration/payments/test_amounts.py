"""Amounts that a provider refuses are rejected before anything is stored; accepted amounts arrive unchanged."""

from contextlib import suppress

import pytest

from core.money import currencies
from models.errors import AmountNotDivisible, AmountTooLarge, AmountTooSmall, CurrencyNotSupported, DomainError
from ops.fakes.calls import ApiError
from ops.fakes.stripe import amounts as stripe_fake
from tests.integration.payments.harness import make_coupon, make_offer
from tests.integration.payments.test_coupons import redemption_count
from workers.payments.invoices import show_invoice
from workers.payments.reconciliation import reconcile_day
from workers.payments.stripe_amounts import PRESENTMENT, StripeAmounts, from_stripe, to_stripe

AMOUNTS = sorted(
    {n + d for n in (0, 30, 50, 100, 1000, 17500, 10**5, 10**8, 10**9, 10**10, 10**12) for d in (-1, 0, 1)}
)
AMOUNTS += [12345, 12340, 12300, 10000]


def is_accepted_by_fake(amount_minor: int, currency: str) -> bool:
    try:
        stripe_fake.check_charge(to_stripe(amount_minor, currency), currency.lower())
    except ApiError:
        return False
    except DomainError:
        return False
    return True


def is_accepted_by_adapter(amount_minor: int, currency: str) -> bool:
    with suppress(DomainError):
        StripeAmounts().check_charge(amount_minor, currency)
        return True
    return False


def test_adapter_rejects_same_amounts_as_stripe():
    assert {code.upper() for code in stripe_fake.SUPPORTED} == PRESENTMENT
    for currency in sorted(PRESENTMENT):
        for amount_minor in AMOUNTS:
            accepted = is_accepted_by_adapter(amount_minor, currency)
            assert accepted == is_accepted_by_fake(amount_minor, currency), (amount_minor, currency)


def test_stripe_amount_roundtrip():
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
def test_special_currency_is_charged_and_refunded_exactly(harness, session, price, at_stripe, total):
    amount_minor, currency = price
    checkout = harness.buy(make_offer(session, price_minor=amount_minor, currency=currency))
    part = amount_minor // 10
    harness.refund(checkout, part)

    attempt, order = harness.attempt(checkout), harness.order(checkout)
    [charge] = harness.fake_stripe.payments_of(str(checkout["order_id"]))
    assert charge["amount_minor"] == at_stripe
    assert harness.refunded_at_provider(checkout) == [at_stripe // 10]
    assert (attempt.captured_minor, attempt.refunded_minor, order.status) == (amount_minor, part, "partially_refunded")
    assert show_invoice(session, order_id=order.id, user_id=harness.buyer)["total"] == total


@pytest.mark.parametrize("currency", ["ISK", "MGA"])
def test_dispute_in_special_currency_has_exact_amount(harness, session, currency):
    checkout = harness.buy(make_offer(session, price_minor=500000, currency=currency))
    opened = harness.fake_stripe.post(f"/__dispute/{harness.attempt(checkout).payment_id}")

    harness.receive_and_apply(opened["id"], "charge.dispute.created")

    assert harness.attempt(checkout).disputed_minor == 500000


def test_reconciliation_of_special_currency_uses_minor_units(harness, session):
    checkout = harness.buy(make_offer(session, price_minor=500000, currency="ISK"))
    harness.refund(checkout, 1000)
    since = harness.attempt(checkout).created_at.replace(microsecond=0)

    found = reconcile_day(
        harness.transactions, harness.enqueue_after_commit, "stripe", harness.providers["stripe"], since=since
    )

    assert harness.attempt(checkout).payment_id not in {each.transaction.payment_id for each in found}


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
def test_unchargeable_amount_is_rejected(harness_with_yookassa, session, provider, price, refusal):
    course_id = make_offer(session, price_minor=price[0], currency=price[1])

    with pytest.raises(refusal):
        harness_with_yookassa.checkout(course_id, provider=provider)


@pytest.mark.parametrize(
    ("price", "percent", "refusal"),
    [((1000, "USD"), 99, AmountTooSmall), ((10050, "KWD"), 15, AmountNotDivisible)],
)
def test_coupon_with_unchargeable_total_is_not_redeemed(harness, session, price, percent, refusal):
    course_id = make_offer(session, price_minor=price[0], currency=price[1])
    code = make_coupon(session, value=percent, max_redemptions=1)

    with pytest.raises(refusal):
        harness.checkout(course_id, coupon=code)

    assert redemption_count(session, code) == 0


def test_indivisible_refund_is_rejected_before_insert(harness, session):
    checkout = harness.buy(make_offer(session, price_minor=12340, currency="KWD"))

    with pytest.raises(AmountNotDivisible):
        harness.refund(checkout, 1234)

    assert (harness.refunded_at_provider(checkout), harness.attempt(checkout).refundable_minor) == ([], 12340)
