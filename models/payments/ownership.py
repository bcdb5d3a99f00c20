"""Rules about courses that a buyer owns already: refuse a second purchase, return late or duplicate payments."""

from uuid import UUID

from sqlalchemy import bindparam, func, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from models.errors import AccountErased, AlreadyPurchased
from models.personal_data import is_erased

from .order_repository import Orders
from .orders import BLOCKS_REPURCHASE, GRANTS_ACCESS, Order, from_rows
from .quote import PurchaseQuote
from .subscriptions import Subscription

# Reasons of automatic refunds; they are shown to the buyer.
REASON_ACCOUNT_ERASED = "account erased"
REASON_ALREADY_OWNED = "already owned"
REASON_DUPLICATE_PAYMENT = "paid twice"

_SUBSCRIBED_STATUSES = ("trialing", "active", "past_due")


def lock_purchases(session: Session, user_id: UUID) -> None:
    """Serialize transactions that check what this buyer owns, by an advisory lock until the transaction ends.

    Take it after the lock of the order; the opposite order could deadlock.
    """
    session.connection().execute(_LOCK, {"name": f"purchases of {user_id}"})


def require_not_erased(session: Session, user_id: UUID) -> None:
    """Raise AccountErased if the account was erased, for example while the command was queued."""
    if is_erased(session, "payments", user_id):
        raise AccountErased


def owned_courses(session: Session, user_id: UUID) -> set[UUID]:
    """Return the courses of the buyer's paid and disputed orders, alone or in a bundle, without subscriptions."""
    owned: set[UUID] = set()
    for course_id, bundle_courses in session.execute(_OWNED, {"user_id": user_id}):
        owned.update([course_id] if course_id else from_rows(bundle_courses))
    return owned


def list_access_sources(session: Session, user_id: UUID, course_id: UUID) -> list[tuple[str, str]]:
    """Return the buyer's orders and subscriptions that give access to a course, as (kind, id)."""
    orders = session.execute(_PAID, {"user_id": user_id})
    bought = [
        ("order", str(order_id))
        for order_id, ordered, bundle_courses in orders
        if course_id == ordered or (not ordered and course_id in from_rows(bundle_courses))
    ]
    subscribed = session.scalars(_SUBSCRIBED, {"user_id": user_id, "course": [str(course_id)]})
    return bought + [("subscription", str(subscription_id)) for subscription_id in subscribed]


def require_not_owned(session: Session, user_id: UUID, kind: str, id_: UUID, course_ids: set[UUID]) -> None:
    """Raise AlreadyPurchased if the buyer owns every one of ``course_ids``, so that the purchase would add nothing."""
    if course_ids and course_ids <= owned_courses(session, user_id):
        raise AlreadyPurchased(kind, str(id_))


def lock_and_require_not_owned(session: Session, user_id: UUID, quote: PurchaseQuote) -> None:
    """Take the purchase lock and raise AlreadyPurchased if the buyer owns every course of ``quote``."""
    lock_purchases(session, user_id)
    require_not_owned(session, user_id, quote.kind, quote.id, set(quote.courses))


def find_refund_reason(session: Session, order: Order) -> str | None:
    """Return why money for the locked, unpaid ``order`` must be refunded; None if it pays the order."""
    if is_erased(session, "payments", order.user_id):
        return REASON_ACCOUNT_ERASED
    if order.subscription_id:
        # The order had expired, and another order has paid its period since, or is pending for it.
        return REASON_DUPLICATE_PAYMENT if Orders(session).competing_id(order) else None
    lock_purchases(session, order.user_id)
    return REASON_ALREADY_OWNED if set(order.courses) <= owned_courses(session, order.user_id) else None


# Built once: building a statement takes longer than executing it.
_LOCK = select(func.pg_advisory_xact_lock(func.hashtextextended(bindparam("name"), 0)))
_PAID = select(Order.id, Order.course_id, Order.bundle_courses).where(
    Order.user_id == bindparam("user_id"), Order.status.in_(GRANTS_ACCESS), Order.subscription_id.is_(None)
)
_SUBSCRIBED = select(Subscription.id).where(
    Subscription.user_id == bindparam("user_id"),
    Subscription.status.in_(_SUBSCRIBED_STATUSES),
    Subscription.course_ids.contains(bindparam("course", type_=JSONB)),
)
_OWNED = select(Order.course_id, Order.bundle_courses).where(
    Order.user_id == bindparam("user_id"), Order.status.in_(BLOCKS_REPURCHASE), Order.subscription_id.is_(None)
)
