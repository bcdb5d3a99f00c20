"""Stripe's rules for currencies and amounts (https://docs.stripe.com/currencies).

Stripe's ``amount`` differs from the minor unit of ISO 4217 in three currencies, and some amounts are refused.
"""

from core.money import format_amount
from models.errors import AmountNotDivisible, AmountTooLarge, AmountTooSmall, CurrencyNotSupported, PaymentRefused

NAME = "Stripe"

PRESENTMENT = frozenset(
    """
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP
    CNY COP CRC CVE CZK DJF DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR
    ISK JMD JOD JPY KES KGS KHR KMF KRW KWD KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MUR MVR MWK MXN MYR
    MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SEK SGD SHP SLE SOS SRD
    SZL THB TJS TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW
    """.split()  # noqa: SIM905 a list would be a line a code
)

# Stripe takes ISK and UGX with two decimal places, which must be 00, and MGA without its two.
_HUNDREDFOLD = frozenset({"ISK", "UGX"})
_HUNDREDTH = frozenset({"MGA"})
# Stripe requires the last of three decimal places to be 0 ("to ensure compatibility with Stripe's payments partners").
_STEPS_MINOR = {"BHD": 10, "JOD": 10, "KWD": 10, "OMR": 10, "TND": 10, "MGA": 100}

# Minimum charge in the minor unit of ISO 4217, if the account settles in the currency. Otherwise Stripe compares the
# converted amount with the minimum of the settlement currency and may refuse: PaymentRefused("amount_too_small").
_MIN_CHARGE_MINOR = {
    "AED": 200, "AUD": 50, "BGN": 100, "BRL": 50, "CAD": 50, "CHF": 50, "CZK": 1500, "DKK": 250, "EUR": 50, "GBP": 30,
    "HKD": 400, "HUF": 17500, "INR": 50, "JPY": 50, "MXN": 1000, "MYR": 200, "NOK": 300, "NZD": 50, "PLN": 200,
    "RON": 200, "SEK": 300, "SGD": 50, "THB": 1000, "USD": 50,
}  # fmt: skip
# Maximum number of digits of Stripe's ``amount``.
_DIGITS = {"COP": 10, "HUF": 10, "IDR": 12, "INR": 9, "JPY": 10, "LBP": 11}
_DEFAULT_DIGITS = 8


class StripeAmounts:
    """The amounts that Stripe charges and refunds, in the minor unit of ISO 4217."""

    def check_charge(self, amount_minor: int, currency: str) -> None:
        """Raise CurrencyNotSupported, AmountTooSmall, AmountTooLarge or AmountNotDivisible."""
        if currency not in PRESENTMENT:
            raise CurrencyNotSupported(NAME, currency)
        least_minor = _MIN_CHARGE_MINOR.get(currency, 1)
        if amount_minor < least_minor:
            raise AmountTooSmall(NAME, format_amount(least_minor, currency), currency)
        largest = 10 ** _DIGITS.get(currency, _DEFAULT_DIGITS) - 1
        if _scaled(amount_minor, currency) > largest:
            raise AmountTooLarge(NAME, format_amount(from_stripe(largest, currency), currency), currency)
        self.check_refund(amount_minor, currency)

    def check_refund(self, amount_minor: int, currency: str) -> None:
        """Raise AmountNotDivisible. A refund has no minimum."""
        step_minor = _STEPS_MINOR.get(currency, 1)
        if amount_minor % step_minor:
            raise AmountNotDivisible(NAME, currency, format_amount(step_minor, currency))


def to_stripe(amount_minor: int, currency: str) -> int:
    """Convert minor units of ISO 4217 to Stripe's ``amount``. Raise PaymentRefused for a fraction, such as 1.50 MGA."""
    if currency in _HUNDREDTH and amount_minor % 100:
        raise PaymentRefused(AmountNotDivisible.code)
    return _scaled(amount_minor, currency)


def from_stripe(amount: int, currency: str) -> int:
    """Convert Stripe's ``amount`` to minor units of ISO 4217."""
    if currency.upper() in _HUNDREDFOLD:
        return amount // 100
    return amount * 100 if currency.upper() in _HUNDREDTH else amount


def _scaled(amount_minor: int, currency: str) -> int:
    if currency in _HUNDREDFOLD:
        return amount_minor * 100
    return amount_minor // 100 if currency in _HUNDREDTH else amount_minor
