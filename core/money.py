"""Currencies of ISO 4217: their codes, their decimal places, and the formatting of amounts.

Everywhere else an amount is an integer in the currency's minor unit; only this module converts it to a decimal.
"""

from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from types import MappingProxyType

from iso4217 import raw_xml

# Codes that ISO has withdrawn (BGN in 2026) are missing in the table, but old orders use them. All had two places.
_PLACES_OF_WITHDRAWN = 2


@cache
def currencies() -> Mapping[str, int]:
    """Return the currencies that a price can have, with the decimal places of each.

    Codes without a minor unit (XXX, XTS, XAU …) and funds codes (CLF, COU, UYI …) are excluded: they are not means of
    payment.
    """
    return MappingProxyType({code: places for code, places, is_fund in _entries() if not is_fund})


def decimal_places(currency: str) -> int:
    """Return the number of decimal places of a currency: 2 for USD, 0 for JPY, 3 for KWD."""
    return _places().get(currency, _PLACES_OF_WITHDRAWN)


def to_decimal(amount_minor: int, currency: str) -> Decimal:
    """Return the amount in the currency's major unit: 12345 minor units of OMR are Decimal("12.345")."""
    return Decimal(amount_minor).scaleb(-decimal_places(currency))


def format_amount(amount_minor: int, currency: str) -> str:
    """Return the amount as text with all decimal places and without the currency code: "12.345", "1000"."""
    return f"{to_decimal(amount_minor, currency):.{decimal_places(currency)}f}"


@cache
def _places() -> dict[str, int]:
    return {code: places for code, places, _is_fund in _entries()}


def _entries() -> list[tuple[str, int, bool]]:
    """Return code, decimal places and "is a fund" of each entry that has a minor unit."""
    found = []
    for entry in raw_xml.iterfind("CcyTbl/CcyNtry"):
        code, places, name = entry.findtext("Ccy"), entry.findtext("CcyMnrUnts"), entry.find("CcyNm")
        if code and places and places.strip().isdigit():
            is_fund = name is not None and name.get("IsFund", "").lower() == "true"
            found.append((code.strip(), int(places), is_fund))
    return found
