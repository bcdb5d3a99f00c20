"""Coupons and their redemptions: an order reserves a coupon while a payment is possible and redeems it when paid."""

from datetime import datetime
from typing import Any, Literal, Self
from uuid import UUID

from sqlalchemy import FetchedValue, ForeignKey, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base, new_id
from core.revision import Revised
from models.errors import (
    CouponCodeExists,
    CouponCurrencyMismatch,
    CouponExhausted,
    CouponExpired,
    CouponLimitBelowUsage,
    CouponNotApplicable,
    CouponPeriodInvalid,
    CouponUnknown,
    NotFound,
)

from .quote import Discount, PurchaseQuote

_A_HUNDRED = 100


class Coupon(Revised, Base):
    __tablename__ = "coupons"
    __table_args__ = ({"schema": "payments"},)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(unique=True)  # in upper case
    kind: Mapped[Literal["percent", "fixed"]]
    value: Mapped[int]  # percent, or minor units for a fixed discount
    currency: Mapped[str | None]  # only of a fixed discount
    max_redemptions: Mapped[int | None]
    max_per_user: Mapped[int | None]
    starts_at: Mapped[datetime | None]
    ends_at: Mapped[datetime | None]
    course_ids: Mapped[list[str] | None]  # None: valid for all courses
    created_at: Mapped[datetime]
    # Maintained by a trigger; a check constraint on it ensures that concurrent orders never exceed max_redemptions.
    redeemed: Mapped[int] = mapped_column(FetchedValue(), FetchedValue(for_update=True))

    @classmethod
    def create(cls, session: Session, fields: dict[str, Any], *, at: datetime) -> Self:
        """Create a coupon. Raises CouponCodeExists if the code exists."""
        row = {"id": new_id(), "created_at": at, "revision": 1, **fields}
        issued = insert(cls).values(row).on_conflict_do_nothing(index_elements=["code"]).returning(cls)
        coupon = session.scalars(issued).one_or_none()
        if coupon is None:
            raise CouponCodeExists(fields["code"])
        return coupon

    @classmethod
    def get_by_code_for_update(cls, session: Session, code: str, *, replaces: UUID | None = None) -> Self:
        """Return the coupon of a code, locked together with the coupon that it ``replaces``. Raises CouponUnknown.

        Both are locked in the order of their ids. Otherwise two orders that swap coupons could deadlock, because the
        trigger that counts redemptions updates both rows.
        """
        both = (
            or_(cls.code == _normalize_code(code), cls.id == replaces)
            if replaces
            else cls.code == _normalize_code(code)
        )
        wanted = select(cls).where(both).order_by(cls.id).with_for_update()
        found = session.scalars(wanted.execution_options(populate_existing=True))
        coupon = next((each for each in found.all() if each.code == _normalize_code(code)), None)
        if coupon is None:
            raise CouponUnknown(code)
        return coupon

    @classmethod
    def get(cls, session: Session, coupon_id: UUID) -> Self:
        """Return a coupon without lock. Raises NotFound."""
        coupon = session.get(cls, coupon_id)
        if coupon is None:
            raise NotFound("coupon", str(coupon_id))
        return coupon

    @classmethod
    def get_for_update(cls, session: Session, coupon_id: UUID) -> Self:
        """Return a coupon, locked. Raises NotFound."""
        coupon = session.get(cls, coupon_id, with_for_update=True, populate_existing=True)
        if coupon is None:
            raise NotFound("coupon", str(coupon_id))
        return coupon

    @classmethod
    def list_page(cls, session: Session, *, limit: int, after: UUID | None) -> list[Self]:
        """List coupons, newest first. ``after`` is the last id of the previous page."""
        coupons = select(cls).order_by(cls.id.desc()).limit(limit)
        return list(session.scalars(coupons.where(cls.id < after) if after else coupons))

    def change(self, fields: dict[str, Any]) -> None:
        """Set new limits and dates.

        Raises CouponLimitBelowUsage if ``max_redemptions`` is below the redemptions so far, CouponPeriodInvalid.
        """
        most = fields.get("max_redemptions")
        if most is not None and most < self.redeemed:
            raise CouponLimitBelowUsage(self.redeemed)
        for name, value in fields.items():
            setattr(self, name, value)
        if self.starts_at and self.ends_at and self.ends_at <= self.starts_at:
            raise CouponPeriodInvalid

    def discount_on(
        self, session: Session, quote: PurchaseQuote, *, user_id: UUID, order_id: UUID, at: datetime
    ) -> Discount:
        """Return the discount on ``quote`` for an order, which may have reserved this coupon already.

        Raises CouponExpired, CouponNotApplicable, CouponCurrencyMismatch, CouponExhausted.
        """
        if (self.starts_at and at < self.starts_at) or (self.ends_at and at >= self.ends_at):
            raise CouponExpired(self.code)
        if self.course_ids is not None and not {str(course_id) for course_id in quote.courses} <= set(self.course_ids):
            raise CouponNotApplicable(self.code)
        if self.currency not in (None, quote.currency):
            raise CouponCurrencyMismatch(self.code, self.currency)
        self._require_remaining_uses(session, user_id, order_id)
        amount_minor = self._discount_minor(quote.amount_minor)
        return Discount(coupon_id=self.id, code=self.code, amount_minor=amount_minor)

    def _discount_minor(self, price_minor: int) -> int:
        """Return the discount on a price. A percentage is rounded half up: 25 % of 19.99 is 5.00."""
        if self.kind == "fixed":
            return min(self.value, price_minor)
        return (price_minor * self.value + _A_HUNDRED // 2) // _A_HUNDRED

    def _require_remaining_uses(self, session: Session, user_id: UUID, order_id: UUID) -> None:
        theirs = select(Redemption.order_id).where(
            Redemption.coupon_id == self.id, Redemption.user_id == user_id, Redemption.returned_at.is_(None)
        )
        holding = set(session.scalars(theirs))
        if self.max_per_user is not None and len(holding - {order_id}) >= self.max_per_user:
            raise CouponExhausted(self.code)
        if self.max_redemptions is not None and self.redeemed - (order_id in holding) >= self.max_redemptions:
            raise CouponExhausted(self.code)

    def to_response(self) -> dict[str, Any]:
        """Return the representation as an item of GET /v1/coupons."""
        names = ("id", "code", "kind", "value", "currency", "max_redemptions", "max_per_user", "starts_at", "ends_at")
        shown = {name: getattr(self, name) for name in (*names, "course_ids", "redeemed", "created_at")}
        return {**shown, "version": self.revision}


def _normalize_code(code: str) -> str:
    """Normalize a code: buyers type it in any case, and paste surrounding spaces."""
    return code.strip().upper()


class Redemption(Base):
    """The use of a coupon by one order: reserved while a payment is possible, redeemed when the order is paid."""

    __tablename__ = "coupon_redemptions"
    __table_args__ = ({"schema": "payments"},)

    order_id: Mapped[UUID] = mapped_column(ForeignKey("payments.orders.id"), primary_key=True)
    coupon_id: Mapped[UUID] = mapped_column(ForeignKey("payments.coupons.id"))
    user_id: Mapped[UUID]
    code: Mapped[str]
    discount_minor: Mapped[int]
    redeemed_at: Mapped[datetime]
    # Set when the order was refunded in full: the coupon can be used again. The row stays for the order's invoice.
    returned_at: Mapped[datetime | None]

    @classmethod
    def create(cls, discount: Discount, *, user_id: UUID, at: datetime) -> Self:
        return cls(
            coupon_id=discount.coupon_id,
            user_id=user_id,
            code=discount.code,
            discount_minor=discount.amount_minor,
            redeemed_at=at,
        )

    def mark_returned(self, *, at: datetime) -> None:
        """Release the coupon after a full refund. The first ``returned_at`` is kept."""
        self.returned_at = self.returned_at or at

    def to_export(self) -> dict[str, Any]:
        """Return the representation in an export of personal data."""
        names = ("code", "discount_minor", "redeemed_at", "returned_at")
        return {name: getattr(self, name) for name in names}

    def replace_with(self, other: "Redemption") -> None:
        """Replace the coupon and discount by those of ``other``, after a new quote."""
        self.coupon_id, self.code = other.coupon_id, other.code
        self.discount_minor, self.redeemed_at = other.discount_minor, other.redeemed_at
