"""Invoices, derived from orders. The order id is the number, so there is no sequence that could have gaps."""

from typing import Any

import settings
from core.money import format_amount
from models.errors import OrderNotPaid

from .orders import Order


def invoice_response(order: Order) -> dict[str, Any]:
    """Return the response of GET /v1/orders/{id}/invoice. Raises OrderNotPaid, also for a free order."""
    payment = order.successful_attempt
    if payment is None:
        raise OrderNotPaid(str(order.id))
    discount_minor = order.redemption.discount_minor if order.redemption else 0
    line_minor = order.amount_minor + discount_minor
    line = {
        "title": order.course_title,
        "amount_minor": line_minor,
        "amount": format_amount(line_minor, order.currency),
    }
    return {
        "number": str(order.id),
        "order_id": order.id,
        "seller": settings.INVOICE_SELLER_NAME,
        "issued_at": order.paid_at,
        "lines": [line],
        "coupon": order.redemption.code if order.redemption else None,
        "discount_minor": discount_minor,
        "discount": format_amount(discount_minor, order.currency),
        "total_minor": order.amount_minor,
        "total": format_amount(order.amount_minor, order.currency),
        "refunded_minor": payment.refunded_minor,
        "refunded": format_amount(payment.refunded_minor, order.currency),
        "currency": order.currency,
    }
