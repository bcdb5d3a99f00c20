"""Format amounts, dates and times for people, by language: the rules of Unicode CLDR, by Babel."""

import re
from copy import copy
from datetime import datetime, tzinfo
from functools import cache

from babel import Locale, dates
from babel.numbers import NumberPattern

from .money import decimal_places, to_decimal

_NO_BREAK_SPACE = "\xa0"
_CODE_BEFORE_DIGIT = re.compile(r"(?<=[^\W\d_])(?=\d)")  # CLDR separates currency codes from digits: RUB 49.00


def format_money(amount_minor: int, currency: str, language: str) -> str:
    """Return an amount with its currency: "$49.00" in English, "49,00 $" in Russian."""
    text: str = _pattern(language, decimal_places(currency)).apply(
        to_decimal(amount_minor, currency), language, currency=currency, currency_digits=False
    )
    return _CODE_BEFORE_DIGIT.sub(_NO_BREAK_SPACE, text)


def format_date(moment: datetime, language: str) -> str:
    """Return the day of ``moment``: "March 1, 2026" in English."""
    return dates.format_date(moment, "long", locale=language)


def format_time(moment: datetime, zone: tzinfo, language: str) -> str:
    """Return ``moment`` in ``zone`` with its day: "March 1, 2026, 2:05 PM"."""
    local = moment.astimezone(zone)
    return f"{format_date(local, language)}, {dates.format_time(local, 'short', locale=language)}"


@cache
def _pattern(language: str, places: int) -> NumberPattern:
    """Return the pattern of amounts. The decimal places are those of ISO 4217; CLDR omits some for cash."""
    pattern: NumberPattern = copy(Locale.parse(language).currency_formats["standard"])
    pattern.frac_prec = (places, places)
    return pattern


def is_language(code: str) -> bool:
    """Return whether ``code`` is the ISO 639 code of a language in CLDR, such as ``en`` or ``haw``."""
    return code in Locale.parse("en").languages
