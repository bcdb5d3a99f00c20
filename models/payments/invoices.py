"""What a buyer is given for the books: made of the order, with no number of its own to run out of order."""

from decimal import Decimal
from typing import Any

import settings
from models.errors import OrderNotPaid

from .orders import Order

_DIGITS_OF_MINOR_UNIT = {"BHD": 3, "JPY": 0, "KRW": 0, "KWD": 3, "TND": 3, "VND": 0}  # of all others: 2


def invoice_of(order: Order) -> dict[str, Any]:
    """As GET /v1/orders/{id}/invoice shows it. Raises OrderNotPaid, for what was free too."""
    payment = order.paid_by
    if payment is None:
        raise OrderNotPaid(str(order.id))
    discount_minor = order.redemption.discount_minor if order.redemption else 0
    line_minor = order.amount_minor + discount_minor
    line = {"title": order.course_title, "amount_minor": line_minor, "amount": _spelled(line_minor, order.currency)}
    return {
        "number": str(order.id),
        "order_id": order.id,
        "seller": settings.SELLER,
        "issued_at": order.paid_at,
        "lines": [line],
        "coupon": order.redemption.code if order.redemption else None,
        "discount_minor": discount_minor,
        "discount": _spelled(discount_minor, order.currency),
        "total_minor": order.amount_minor,
        "total": _spelled(order.amount_minor, order.currency),
        "refunded_minor": payment.refunded_minor,
        "refunded": _spelled(payment.refunded_minor, order.currency),
        "currency": order.currency,
    }


def _spelled(amount_minor: int, currency: str) -> str:
    digits = _DIGITS_OF_MINOR_UNIT.get(currency, 2)
    return f"{Decimal(amount_minor).scaleb(-digits):.{digits}f}"
