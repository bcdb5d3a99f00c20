"""The quote of a purchase: a course, or a bundle of courses, at the current price."""

from dataclasses import dataclass, replace
from typing import Self
from uuid import UUID


@dataclass(frozen=True, kw_only=True)
class Discount:
    """The amount that a coupon takes off a price, in minor units."""

    coupon_id: UUID
    code: str
    amount_minor: int


@dataclass(frozen=True, kw_only=True)
class PurchaseQuote:
    """What an order can be quoted for, with an optional discount."""

    title: str
    amount_minor: int  # the price after the discount
    currency: str
    courses: dict[UUID, str]  # titles by id of the courses that the buyer gets access to
    bundle_id: UUID | None = None  # None: a single course
    discount: Discount | None = None

    @property
    def kind(self) -> str:
        return "bundle" if self.bundle_id else "course"

    @property
    def id(self) -> UUID:
        return self.bundle_id or next(iter(self.courses))

    def discounted(self, discount: Discount) -> Self:
        """Return a copy with the discount taken off the price."""
        return replace(self, amount_minor=self.amount_minor - discount.amount_minor, discount=discount)
