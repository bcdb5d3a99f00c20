"""What somebody wants to buy, at its present price: a course, or several as a bundle."""

from dataclasses import dataclass, replace
from typing import Self
from uuid import UUID


@dataclass(frozen=True, kw_only=True)
class Discount:
    """What a coupon takes off."""

    coupon_id: UUID
    code: str
    amount_minor: int


@dataclass(frozen=True, kw_only=True)
class Goods:
    title: str
    amount_minor: int  # what is to be paid
    currency: str
    courses: dict[UUID, str]  # that it opens, with their titles
    bundle_id: UUID | None = None  # None: it is its one course
    discount: Discount | None = None

    @property
    def kind(self) -> str:
        return "bundle" if self.bundle_id else "course"

    @property
    def id(self) -> UUID:
        return self.bundle_id or next(iter(self.courses))

    def less(self, discount: Discount) -> Self:
        """The same for less money."""
        return replace(self, amount_minor=self.amount_minor - discount.amount_minor, discount=discount)
