"""What a buyer owns already, and why money that arrives late is not wanted any more."""

from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from models.errors import AccountErased, AlreadyPurchased
from models.personal import is_erased

from .goods import Goods
from .orders import NOT_SOLD_AGAIN, Order

# Reasons of refunds that we make without being asked. The buyer reads them.
ACCOUNT_ERASED = "account erased"
ALREADY_OWNED = "already owned"
PAID_TWICE = "paid twice"


def lock_purchases(session: Session, user_id: UUID) -> None:
    """Let one transaction at a time decide what this buyer owns. Take it after the lock of the order."""
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"purchases of {user_id}", 0))))


def refuse_erased(session: Session, user_id: UUID) -> None:
    """Raise AccountErased: a command that was on its way when the account was erased sells nothing."""
    if is_erased(session, "payments", user_id):
        raise AccountErased


def owned_courses(session: Session, user_id: UUID) -> set[UUID]:
    """Return the courses that paid orders of this buyer have opened for good, alone or in a bundle."""
    return {course_id for order in session.scalars(_paid_for(user_id)) for course_id in order.courses}


def refuse_owned(session: Session, user_id: UUID, kind: str, id_: UUID, course_ids: set[UUID]) -> None:
    """Raise AlreadyPurchased where the buyer owns every course of what is sold: it would give nothing."""
    if course_ids and course_ids <= owned_courses(session, user_id):
        raise AlreadyPurchased(kind, str(id_))


def refuse_owned_goods(session: Session, user_id: UUID, goods: Goods) -> None:
    """Raise AlreadyPurchased where the buyer owns every course of ``goods``, whichever orders paid for them."""
    lock_purchases(session, user_id)
    refuse_owned(session, user_id, goods.kind, goods.id, set(goods.courses))


def reason_to_return(session: Session, order: Order) -> str | None:
    """Return why money for ``order``, which is locked and unpaid, has to go back; None where it pays the order."""
    if is_erased(session, "payments", order.user_id):
        return ACCOUNT_ERASED
    if order.subscription_id:
        # An order that was given up, and whose period another order has paid since, or is being charged for.
        return PAID_TWICE if order.rival_id(session) else None
    lock_purchases(session, order.user_id)
    return ALREADY_OWNED if set(order.courses) <= owned_courses(session, order.user_id) else None


def _paid_for(user_id: UUID) -> Select[Order]:
    owned = select(Order).where(Order.user_id == user_id, Order.status.in_(NOT_SOLD_AGAIN))
    return owned.where(Order.subscription_id.is_(None))
