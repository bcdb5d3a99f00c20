"""Validate amounts by the rules of https://docs.stripe.com/currencies, in Stripe's units, with lower-case codes.

The account of the fake settles in every currency, so that the minimum of each currency applies without conversion.
"""

from . import errors

SUPPORTED = frozenset(  # as one text, the codes are easier to compare with the documentation
    """
    usd aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd btn bwp byn bzd cad cdf chf
    clp cny cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel ghs gip gmd gnf gtq gyd hkd hnl htg huf idr ils
    inr isk jmd jod jpy kes kgs khr kmf krw kwd kyd kzt lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop mur mvr mwk mxn
    myr mzn nad ngn nio nok npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd scr sek sgd shp sle sos
    srd szl thb tjs tnd top try ttd twd tzs uah ugx uyu uzs vnd vuv wst xaf xcd xcg xof xpf yer zar zmw
    """.split()  # noqa: SIM905
)
ZERO_DECIMAL = frozenset("bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf".split())  # noqa: SIM905
THREE_DECIMAL = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})
WHOLE_UNITS_ONLY = frozenset({"isk", "ugx"})  # Stripe keeps two decimals for backward compatibility

MIN_AMOUNTS = {
    "usd": 50, "aed": 200, "aud": 50, "bgn": 100, "brl": 50, "cad": 50, "chf": 50, "czk": 1500, "dkk": 250, "eur": 50,
    "gbp": 30, "hkd": 400, "huf": 17500, "inr": 50, "jpy": 50, "mxn": 1000, "myr": 200, "nok": 300, "nzd": 50,
    "pln": 200, "ron": 200, "sek": 300, "sgd": 50, "thb": 1000,
}  # fmt: skip
MAX_DIGITS = {"cop": 10, "huf": 10, "idr": 12, "inr": 9, "jpy": 10, "lbp": 11}


def check_charge(amount: int, currency: str, param: str = "amount") -> None:
    """Check that an amount can be charged. Raises ApiError."""
    least = MIN_AMOUNTS.get(currency, 1)
    if amount < least:
        raise errors.invalid(f"Amount must be at least {format_amount(least, currency)}", param, "amount_too_small")
    most = 10 ** MAX_DIGITS.get(currency, 8) - 1
    if amount > most:
        raise errors.invalid(f"Amount must be no more than {format_amount(most, currency)}", param, "amount_too_large")
    check_places(amount, currency, param)


def check_places(amount: int, currency: str, param: str = "amount") -> None:
    """Check that the last digits of an amount are zero where Stripe requires it. Raises ApiError."""
    step = 100 if currency in WHOLE_UNITS_ONLY else 10 if currency in THREE_DECIMAL else 1
    if amount % step:
        raise errors.invalid(f"Invalid amount. In {currency} it must be divisible by {step}.", param)


def format_amount(amount: int, currency: str) -> str:
    """Return the amount for display: "49.00 USD"."""
    places = 0 if currency in ZERO_DECIMAL else 3 if currency in THREE_DECIMAL else 2
    return f"{amount / 10**places:,.{places}f} {currency.upper()}"
