"""Events of orders within this service, handled in the transaction that changed the order, under its lock.

What depends on orders, like subscriptions, reacts to them; payments, refunds and disputes know nothing of it. Events
for other services are recorded in the outbox instead.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from sqlalchemy.orm import Session

from models.payments import Order, PaymentAttempt


@dataclass(frozen=True)
class PaymentStatusChanged:
    """The status of a payment attempt of ``order`` changed."""

    order: Order
    attempt: PaymentAttempt


@dataclass(frozen=True)
class OrderAccessChanged:
    """A refund or dispute ended the access that ``order`` grants, or its reversal restored it."""

    order: Order
    reason: Literal["refunded", "disputed"]


_EventT = TypeVar("_EventT", PaymentStatusChanged, OrderAccessChanged)

_handlers: dict[type, list[Callable[[Session, Any], None]]] = defaultdict(list)


def handles(
    event_type: type[_EventT],
) -> Callable[[Callable[[Session, _EventT], None]], Callable[[Session, _EventT], None]]:
    """Register the decorated function as a handler of ``event_type``."""

    def register(handler: Callable[[Session, _EventT], None]) -> Callable[[Session, _EventT], None]:
        _handlers[event_type].append(handler)
        return handler

    return register


def dispatch(session: Session, event: PaymentStatusChanged | OrderAccessChanged) -> None:
    """Call the handlers of ``event``; an error of a handler rolls the transaction back."""
    for handler in _handlers[type(event)]:
        handler(session, event)
