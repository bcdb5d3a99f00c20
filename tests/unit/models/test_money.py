"""Currencies of ISO 4217 and their decimal places."""

from decimal import Decimal

import pytest

from core.money import currencies, decimal_places, format_amount, to_decimal


@pytest.mark.parametrize(
    ("amount_minor", "currency", "text"),
    [
        (4900, "USD", "49.00"),
        (1, "EUR", "0.01"),
        (1000, "CLP", "1000"),
        (5000, "XAF", "5000"),
        (50000, "UGX", "50000"),
        (1000, "ISK", "1000"),
        (12345, "OMR", "12.345"),
        (5000, "JOD", "5.000"),
        (12345, "IQD", "12.345"),
        (12345, "CLF", "1.2345"),
        (10**12, "JPY", "1000000000000"),
        (-1900, "EUR", "-19.00"),
        (0, "KWD", "0.000"),
    ],
)
def test_amount_has_the_decimal_places_of_its_currency(amount_minor, currency, text):
    assert format_amount(amount_minor, currency) == text
    assert to_decimal(amount_minor, currency) == Decimal(text)


def test_decimal_places_follow_iso_4217():
    zero = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"
    three = "BHD IQD JOD KWD LYD OMR TND"

    assert {code for code, places in currencies().items() if places == 0} == set(zero.split())
    assert {code for code, places in currencies().items() if places == 3} == set(three.split())
    assert len(currencies()) > 150


@pytest.mark.parametrize("code", ["XXX", "XTS", "XAU", "XDR", "XSU", "CLF", "CHE", "ZZZ", "usd", "", "EURO"])
def test_codes_without_a_currency_in_use_are_left_out(code):
    assert code not in currencies()


def test_withdrawn_currency_keeps_two_places():
    assert (decimal_places("BGN"), format_amount(1990, "BGN")) == (2, "19.90")
