"""Build the events that an order publishes."""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from models.events import (
    CoursePurchased,
    OrderCanceled,
    OrderCreated,
    OrderExpired,
    PaymentFailed,
    PaymentSucceeded,
)

if TYPE_CHECKING:
    from .orders import Order
    from .payment_attempts import PaymentAttempt


def created(order: "Order", provider: str) -> OrderCreated:
    return OrderCreated(
        order_id=order.id,
        user_id=order.user_id,
        **_course_fields(order),
        amount_minor=order.amount_minor,
        currency=order.currency,
        provider=provider,
        created_at=order.created_at,
        description=order.course_title,
    )


def canceled(order: "Order", at: datetime) -> OrderCanceled:
    return OrderCanceled(order_id=order.id, user_id=order.user_id, **_course_fields(order), canceled_at=at)


def expired(order: "Order", at: datetime) -> OrderExpired:
    return OrderExpired(order_id=order.id, user_id=order.user_id, **_course_fields(order), expired_at=at)


def paid(order: "Order", attempt: "PaymentAttempt", at: datetime) -> PaymentSucceeded:
    return PaymentSucceeded(
        order_id=order.id,
        payment_id=attempt.id,
        user_id=order.user_id,
        description=order.course_title,
        amount_minor=attempt.captured_minor,
        currency=attempt.money_currency,
        provider=attempt.provider,
        paid_at=at,
    )


def purchased(order: "Order", at: datetime) -> Iterator[CoursePurchased]:
    """Yield one event per course. An order of a subscription yields none: the subscription publishes its own events."""
    for course_id, title in order.courses.items():
        yield CoursePurchased(
            order_id=order.id, user_id=order.user_id, course_id=course_id, course_title=title, purchased_at=at
        )


def failed(order: "Order", attempt: "PaymentAttempt", at: datetime) -> PaymentFailed:
    return PaymentFailed(
        order_id=order.id,
        payment_id=attempt.id,
        user_id=order.user_id,
        description=order.course_title,
        provider=attempt.provider,
        reason=attempt.problem or "declined",
        failed_at=at,
    )


def _course_fields(order: "Order") -> dict[str, Any]:
    """Return the course fields of the events. ``course_id`` is for consumers older than ``course_ids``."""
    return {"course_id": next(iter(order.courses)), "course_ids": list(order.courses)}
