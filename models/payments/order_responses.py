"""Representations of an order in API responses."""

from typing import Any

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


def payment_state(order: Order) -> dict[str, Any]:
    """Return status and problem of the latest payment of an order, both None if there was none."""
    latest = order.attempts[-1] if order.attempts else None
    return {
        "payment_status": latest.status if latest else None,
        "payment_problem": latest.problem if latest else None,
    }
