"""Representations of an order in API responses."""

from collections.abc import Sequence
from typing import Any

from core.money import format_amount

from .invoices import Invoice
from .orders import Order, as_rows


def order_response(order: Order) -> dict[str, Any]:
    """Return the representation in GET /v1/orders/{id}."""
    return {
        "id": order.id,
        "status": order.status,
        "course_id": order.course_id,
        "bundle_id": order.bundle_id,
        "subscription_id": order.subscription_id,
        "course_title": order.course_title,
        "courses": as_rows(order.courses),
        "coupon": order.redemption.code if order.redemption else None,
        "discount_minor": order.redemption.discount_minor if order.redemption else 0,
        "amount_minor": order.amount_minor,
        "currency": order.currency,
        "refund_pending_minor": order.successful_attempt.refund_pending_minor if order.successful_attempt else 0,
        "refunded_minor": order.successful_attempt.refunded_minor if order.successful_attempt else 0,
        "disputed_minor": order.successful_attempt.disputed_minor if order.successful_attempt else 0,
        "created_at": order.created_at,
        "paid_at": order.paid_at,
        "version": order.version,
    }


def free_checkout_response(order: Order) -> dict[str, Any]:
    """Return the response of POST /v1/checkouts for a free order, which needs no checkout session."""
    return {
        "id": order.id,
        "order_id": order.id,
        "status": "succeeded",
        "amount_minor": order.amount_minor,
        "currency": order.currency,
        "redirect_url": None,
        "expires_at": None,
    }


def invoice_response(order: Order, invoice: Invoice, credit_notes: Sequence[Invoice]) -> dict[str, Any]:
    """Return the response of GET /v1/orders/{id}/invoice, with the buyer's ``user_id``."""
    payment = order.successful_attempt
    discount_minor = order.redemption.discount_minor if order.redemption else 0
    line_minor = invoice.amount_minor + discount_minor
    refunded_minor = payment.refunded_minor if payment else 0
    line = {
        "title": order.course_title,
        "amount_minor": line_minor,
        "amount": format_amount(line_minor, invoice.currency),
    }
    seller, tax = invoice.seller or {}, invoice.tax or {}
    return {
        "number": invoice.label,
        "order_id": order.id,
        "user_id": order.user_id,
        "seller": seller.get("name"),
        "seller_address": seller.get("address"),
        "seller_tax_id": seller.get("tax_id"),
        "buyer": invoice.buyer,
        "issued_at": invoice.issued_at,
        "paid_at": order.paid_at,
        "lines": [line],
        "coupon": order.redemption.code if order.redemption else None,
        "discount_minor": discount_minor,
        "discount": format_amount(discount_minor, invoice.currency),
        "tax_name": tax.get("name"),
        "tax_basis_points": tax.get("rate_basis_points", 0),
        **invoice.money(),
        "refunded_minor": refunded_minor,
        "refunded": format_amount(refunded_minor, invoice.currency),
        "credit_notes": [each.to_credit_note() for each in credit_notes],
        "currency": invoice.currency,
    }


def payment_state(order: Order) -> dict[str, Any]:
    """Return status and problem of the latest payment of an order, both None if there was none."""
    latest = order.attempts[-1] if order.attempts else None
    return {
        "payment_status": latest.status if latest else None,
        "payment_problem": latest.problem if latest else None,
    }
