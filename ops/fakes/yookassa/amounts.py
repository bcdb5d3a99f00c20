"""Parse and format YooKassa's amounts: ``{"value": "100.00", "currency": "RUB"}``."""

import re
from typing import Any

from ops.fakes.store import Document

from . import errors

FEE_PERCENT = 3.5  # the provider's fee; income_amount is the rest


def rubles(amount_minor: int) -> Document:
    return {"value": f"{amount_minor // 100}.{amount_minor % 100:02}", "currency": "RUB"}


def minor(amount: Any, parameter: str) -> int:
    """Return an amount in kopecks. Raises ApiError unless it is a positive amount in roubles."""
    if not isinstance(amount, dict):
        raise errors.invalid("Amount is missing.", parameter)
    value = str(amount.get("value", ""))
    if not re.fullmatch(r"\d{1,10}(\.\d{1,2})?", value):
        raise errors.invalid("Incorrect amount value.", f"{parameter}.value")
    if amount.get("currency") != "RUB":
        raise errors.invalid("The shop takes payments in RUB only.", f"{parameter}.currency")
    whole, _, fraction = value.partition(".")
    kopecks = int(whole) * 100 + int(fraction.ljust(2, "0"))
    if kopecks == 0:
        raise errors.invalid("The amount must be greater than zero.", f"{parameter}.value")
    return kopecks


def income(amount_minor: int) -> Document:
    return rubles(amount_minor - round(amount_minor * FEE_PERCENT / 100))
